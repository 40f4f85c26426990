"""Sleeps by timerfd and sends, and does nothing else: as punctual as this machine lets anybody be who does not spin.

Arguments: the port, seconds between two datagrams, and how many.
"""

import ctypes
import os
import struct
import sys
import time
from typing import Final

from wire import request, udp_socket

_ITIMERSPEC: Final = struct.Struct("@qqqq")
_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1


def main() -> None:
    """By the rule of `ping`: what is too late for its slot goes into the next one."""
    port, slot, count = int(sys.argv[1]), round(float(sys.argv[2]) * 1e9), int(sys.argv[3])
    library = ctypes.CDLL(None)
    timer = library.timerfd_create(_MONOTONIC, 0)
    data = request(bytes(8))
    with udp_socket() as sock:
        due = time.monotonic_ns()
        for _ in range(count):
            due += slot
            library.timerfd_settime(timer, _ABSOLUTE, _ITIMERSPEC.pack(0, 0, *divmod(due, 1_000_000_000)), None)
            os.read(timer, 8)
            due += max(time.monotonic_ns() - due, 0) // slot * slot
            sock.sendto(data, ("127.0.0.1", port))


if __name__ == "__main__":
    main()
