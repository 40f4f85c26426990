"""Behaves on the wire as the client of `udp_remote.py` in *Foundations of Python Network Programming*; written anew.

It connects, sends one sentence, waits 0.1 s for an answer, then twice as long after each further transmission, and
gives up rather than wait longer than 2 s. An ICMP error kills it.

    python book_client.py PORT
"""

import socket
import sys

HOST = "127.0.0.1"
MESSAGE = b"This is another message"
FIRST_WAIT = 0.1
LONGEST_WAIT = 2.0


def ask(sock: socket.socket) -> str:
    """The answer; `RuntimeError` when there is none."""
    wait = FIRST_WAIT
    while wait <= LONGEST_WAIT:
        print(f"waiting up to {wait:g} s", flush=True)
        sock.send(MESSAGE)
        sock.settimeout(wait)
        try:
            return sock.recv(65_535).decode("ascii")
        except TimeoutError:
            wait *= 2
    raise RuntimeError("the server is down, it seems")


def main() -> None:
    """Ask whoever listens on a port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, int(sys.argv[1])))
        print(f"the server says {ask(sock)!r}")


if __name__ == "__main__":
    main()
