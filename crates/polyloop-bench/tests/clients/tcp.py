"""A client of `polyloop serve --protocol line`, as a first course on sockets writes it.

    python3 tcp.py HOST PORT

Plain blocking calls of Python's socket module, and nothing of polyloop.
"""

import socket
import sys

address = (sys.argv[1], int(sys.argv[2]))


def receive_line(client):
    """recv() returns what has come: a part of a line, or several. Only the end of a line tells."""
    line = b""
    while not line.endswith(b"\n"):
        piece = client.recv(1024)
        if not piece:
            raise EOFError("the server has closed")
        line += piece
    return line


# A long connection: many exchanges, and the word that ends it.
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.settimeout(20)
client.connect(address)
first_port = client.getsockname()[1]
for number in range(100):
    message = f"message {number}\n".encode()
    client.sendall(message)
    assert receive_line(client) == message
client.sendall(b"##\n")
assert client.recv(1024) == b"", "the server must close"
client.close()

# A closed socket cannot be used again; a new one comes from another port.
try:
    client.send(b"again\n")
    raise AssertionError("a closed socket took something")
except OSError:
    pass
with socket.create_connection(address, timeout=20) as again:
    assert again.getsockname()[1] != first_port
    again.sendall("读\n".encode())
    assert receive_line(again).decode() == "读\n"

# Short connections: one exchange each.
for number in range(20):
    with socket.create_connection(address, timeout=20) as short:
        short.sendall(b"short\n")
        assert receive_line(short) == b"short\n"

# More than any buffer holds, both ways at once.
lines = b"".join(b"line %d\n" % number for number in range(100_000))
with socket.create_connection(address, timeout=20) as large:
    sent, received = 0, b""
    large.setblocking(False)
    while len(received) < len(lines):
        try:
            sent += large.send(lines[sent : sent + 65536]) if sent < len(lines) else 0
        except BlockingIOError:
            pass
        try:
            received += large.recv(65536)
        except BlockingIOError:
            pass
    assert received == lines

print("all exchanges were right")
