"""The load generator for hosts without a C compiler: what load.c does, with the same arguments and output.

Perhaps slower than the servers it measures: it says which of them answer rightly, and less about which is faster.
"""

import contextlib
import select
import sys
import time
from typing import Final

from wire import answer, request, udp_socket

LOST_AFTER: Final = 0.2
"""Seconds."""
LOOK_EVERY: Final = 0.02
"""Seconds."""


class Slots:
    """The outstanding requests: a fixed number, each asked anew when it is answered or lost."""

    def __init__(self, port: int, sources: int, outstanding: int) -> None:
        self.sockets = [udp_socket() for _ in range(sources)]
        for sock in self.sockets:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", port))
        self._used = [0] * outstanding
        self._sent = [0.0] * outstanding
        self.answers = self.lost = self.stale = self.wrong = 0
        for slot in range(outstanding):
            self.ask(slot)

    def ask(self, slot: int) -> None:
        """Send this slot's next request; a failure is a lost request, asked anew in time."""
        self._used[slot] += 1
        self._sent[slot] = time.perf_counter()
        with contextlib.suppress(OSError):
            self.sockets[slot % len(self.sockets)].send(self._request(slot, self._used[slot]))

    def drain(self, source: int) -> None:
        """Check all answers that came to one socket, and ask again."""
        while True:
            try:
                data = self.sockets[source].recv(2048)
            except OSError:
                return
            slot, used = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
            known = slot < len(self._used) and slot % len(self.sockets) == source and 0 < used <= self._used[slot]
            if not known or data != answer(self._request(slot, used)):
                self.wrong += 1
            elif used != self._used[slot]:
                self.stale += 1
            else:
                self.answers += 1
                self.ask(slot)

    def ask_lost_again(self, now: float) -> None:
        """Ask anew what was not answered in time."""
        for slot, sent in enumerate(self._sent):
            if sent < now - LOST_AFTER:
                self.lost += 1
                self.ask(slot)

    @staticmethod
    def _request(slot: int, used: int) -> bytes:
        number = slot.to_bytes(4, "big") + used.to_bytes(4, "big")
        return request(number, number * 8)


def load(port: int, sources: int, outstanding: int, warm_up: float, seconds: float) -> None:
    """Ask until the time is over, and print what came of it."""
    slots = Slots(port, sources, outstanding)
    poll = select.poll()
    by_descriptor = {sock.fileno(): source for source, sock in enumerate(slots.sockets)}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    begin = looked = now = time.perf_counter()
    warm = False
    while not warm or now < begin + seconds:
        for descriptor, _ in poll.poll(LOOK_EVERY * 1000):
            slots.drain(by_descriptor[descriptor])
        now = time.perf_counter()
        if not warm and now >= begin + warm_up:
            warm, begin = True, now
            slots.answers = slots.lost = slots.stale = 0
        if now >= looked + LOOK_EVERY:
            looked = now
            slots.ask_lost_again(now)
    print(slots.answers, f"{now - begin:.6f}", slots.lost, slots.stale, slots.wrong)


if __name__ == "__main__":
    load(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
