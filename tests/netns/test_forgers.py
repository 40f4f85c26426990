"""Forgers with raw sockets, on the host beside the server: of replies, and of ICMP."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from trio_udp import Address, DropReason
from trio_udp.testing import ICMP_KINDS

from ..networks import reply_to
from .programs import PORT, SERVERS, cabled
from .scene import Scene, forgeries, scene

pytestmark = pytest.mark.usefixtures("hosts")

ROOT: Final = Path(__file__).parent.parent.parent
STRANGERS: Final = {False: "192.0.2.66", True: "2001:db8::66"}
"""By whether it is version 6. Nobody lives there."""
CLIENTS: Final = {False: "192.0.2.1", True: "2001:db8::1"}


@asynccontextmanager
async def cabled_scene(host: str, *, connect: bool) -> AsyncIterator[Scene]:
    """On two hosts; the real answer is believed at the end of the block."""
    async with cabled() as hosts, scene(*hosts, CLIENTS[":" in host], host, connect=connect) as play:
        yield play


@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("host", SERVERS)
async def test_forged_replies_are_counted_and_the_real_one_is_believed(host: str, connect: bool) -> None:
    """A1, A2, A5: from the server's own address and port, with everything right but one thing."""
    async with cabled_scene(host, connect=connect) as play:
        for forged in forgeries(play.request):
            play.forger.send(forged, play.server, play.asker)
        assert await play.counted(8) == {
            DropReason.MALFORMED: 5,
            DropReason.UNKNOWN_REQUEST: 2,
            DropReason.WRONG_DIRECTION: 1,
        }


@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("host", SERVERS)
async def test_a_strangers_right_answer_is_not_believed(host: str, connect: bool) -> None:
    """A1: the very bytes that would be believed, from another host and from another port of the server's.

    A connected client does not see them: the kernel filters.
    """
    async with cabled_scene(host, connect=connect) as play:
        reply = reply_to(play.request, b"FAKE")
        for source in (Address(STRANGERS[":" in host], PORT), Address(host, PORT + 1)):
            play.forger.send(reply, source, play.asker)
        play.forger.send(b"FAKE", play.server, play.asker)  # arrives after those before it
        assert await play.counted(1 if connect else 3) == {
            DropReason.MALFORMED: 1,
            **({} if connect else {DropReason.WRONG_PEER: 2}),
        }


@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("host", SERVERS)
@pytest.mark.parametrize("kind", ICMP_KINDS)
async def test_forged_icmp_of_every_kind_is_a_hint(host: str, connect: bool, kind: str) -> None:
    """G4, G5: twenty of them, about the very datagram that was sent, end nothing and cost no attempt.

    Afterwards a datagram longer than the path that they told of still leaves in one piece.
    """
    async with cabled_scene(host, connect=connect) as play:
        for _ in range(20):
            play.forge_icmp(kind)
        await play.hinted()
        assert play.reply is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play.ask_much)
            play.release.set()
        assert play.client.statistics().endpoint.send_errors == {}


def test_an_ordinary_user_can_forge_all_of_it_on_a_loopback_of_their_own() -> None:
    """A1, A2, G4, G5: without any privilege, as in `unshare -Urn`. Nothing of it is believed or ends anything."""
    program = [sys.executable, "-m", "tests.netns.ordinary_user"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "dropped: 5 malformed, 2 unknown_request, 1 wrong_direction",
        "hints: ECONNREFUSED EMSGSIZE",
        "answer: real after 1 attempt",
    ]
