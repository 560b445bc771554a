"""A client of `polyloop serve --transport udp`, as a first course on sockets writes it.

    python3 udp.py HOST PORT

Plain blocking calls of Python's socket module, and nothing of polyloop.
"""

import socket
import sys

address = (sys.argv[1], int(sys.argv[2]))

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(20)

# One datagram in, one out, from where it was sent to.
for number in range(100):
    message = f"message {number}".encode()
    client.sendto(message, address)
    assert client.recvfrom(1024) == (message, address)

# However fast they are sent, datagrams do not stick together.
messages = [f"message {number}".encode() for number in range(5)]
for message in messages:
    client.sendto(message, address)
assert sorted(client.recvfrom(1024)[0] for _ in messages) == messages

# One of no bytes is a datagram, too, and not the end of anything.
client.sendto(b"", address)
assert client.recvfrom(1024) == (b"", address)

# One that is longer than the maximum loses its rest, which does not come with the next.
client.sendto(b"0123456789", address)
assert client.recvfrom(4)[0] == b"0123"
client.sendto(b"next", address)
assert client.recvfrom(1024)[0] == b"next"

# A client that was away comes back from another port, and is answered there.
first_port = client.getsockname()[1]
again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
again.settimeout(20)
again.sendto(b"again", address)
assert again.getsockname()[1] != first_port
assert again.recvfrom(1024) == (b"again", address)

print("all exchanges were right")
