"""An echo server on Python's asyncio that `polyloop compare` can start beside its own models.

    cargo run --release -- compare --models mio,thread --peer asyncio=python3,examples/asyncio_peer.py

docs/measuring.md says what is asked of a server that takes part, in any language.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import sys


async def echo(reader, writer):
    """Sends back what comes, until the peer's end."""
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # concerns this connection only
    finally:
        writer.close()


def answer(question):
    """What is asked between two phases, as one line of JSON."""
    if question == "stats":
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "user_ns": int(used.ru_utime * 1e9),
            "system_ns": int(used.ru_stime * 1e9),
            "voluntary_switches": used.ru_nvcsw,
            "involuntary_switches": used.ru_nivcsw,
        }
    if question == "memory":
        if not os.path.exists("/proc/self/statm"):
            return {}
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
        return {"resident_bytes": pages * resource.getpagesize(), "threads": 1}
    return {}


def control():
    """Answers one line, and ends with the standard input."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    print(json.dumps(answer(line.strip())), flush=True)


async def main():
    parser = argparse.ArgumentParser(description="An echo server on asyncio.")
    parser.add_argument("--listen", default="127.0.0.1:7000")
    parser.add_argument("--backlog", type=int, default=1024)
    parser.add_argument("--control", action="store_true")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):  # some systems have a limit that they do not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, _, port = arguments.listen.rpartition(":")
    server = await asyncio.start_server(echo, host, int(port), backlog=arguments.backlog)
    host, port = server.sockets[0].getsockname()[:2]
    print(json.dumps({"listening": f"{host}:{port}"}), flush=True)
    if arguments.control:
        asyncio.get_running_loop().add_reader(sys.stdin, control)
    await server.serve_forever()


asyncio.run(main())
