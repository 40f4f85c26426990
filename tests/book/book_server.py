"""Behaves on the wire as the server of `udp_remote.py` in *Foundations of Python Network Programming*; written anew.

It loses half of what it hears at random, answers the rest to whoever sent it with the length in a sentence, believes
every source, and dies of the first byte that is not ASCII.

    python book_server.py PORT [--drop FRACTION] [--seed N]
"""

import argparse
import random
import socket

HOST = "127.0.0.1"


def answer_all(sock: socket.socket, drop: float = 0.5, seed: int | None = None) -> None:
    """Answer until a byte that is not ASCII comes, which raises `UnicodeDecodeError`."""
    losses = random.Random(seed)
    while True:
        data, peer = sock.recvfrom(65_535)
        if losses.random() < drop:
            print(f"lost what {peer} sent", flush=True)
            continue
        text = data.decode("ascii")
        print(f"{peer} says {text!r}", flush=True)
        sock.sendto(f"Your data was {len(data)} bytes long".encode("ascii"), peer)


def main() -> None:
    """Listen on a port of 127.0.0.1; 0 takes a free one, which is printed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--drop", type=float, default=0.5)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, arguments.port))
        print(f"listening at {sock.getsockname()}", flush=True)
        answer_all(sock, arguments.drop, arguments.seed)


if __name__ == "__main__":
    main()
