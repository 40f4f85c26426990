"""The yardstick: an echo server of plain blocking calls. Prints its port, and echoes until it is killed."""

from wire import answer, udp_socket


def main() -> None:
    """Receive, change a byte, send."""
    sock = udp_socket()
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    while True:
        data, peer = sock.recvfrom(65_536)
        sock.sendto(answer(data), peer)


if __name__ == "__main__":
    main()
