"""What becomes of a datagram to a port where nobody listens."""

import socket
import struct
from typing import Final

import pytest

from trio_udp.testing._options import IP, IP_RECVERR, IPV6, IPV6_RECVERR

from ..networks import needs_ipv6
from .both import HOSTS, ONE, SIX, Seen, Sockets, on_both, tried, tried_sync, usual_buffers

HEARS: Final = {ONE: (IP, IP_RECVERR, 1), SIX: (IPV6, IPV6_RECVERR, 1)}
ERRORS: Final = socket.MSG_ERRQUEUE
SO_ERROR: Final = (socket.SOL_SOCKET, socket.SO_ERROR)


async def refused(sockets: Sockets, host: str, *options: tuple[int, int, int]) -> Seen:
    """A connected socket whose peer has gone."""
    server = await sockets.bound(host)
    sock = await sockets.connected(server, *options)
    server.close()
    return sock


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_a_connected_socket_hears_on_receiving(sockets: Sockets, host: str) -> Seen:
    """Once; then it works as before."""
    sock = await refused(sockets, host)
    sent = await tried(sock.send, b"?")
    return sent, sock.is_readable(), await tried(sock.recv, 10), sock.is_readable(), await tried(sock.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_a_connected_socket_hears_on_sending(sockets: Sockets, host: str) -> Seen:
    """Every other time: the call that hears it sends nothing."""
    sock = await refused(sockets, host)
    return [await tried(sock.send, b"?") for _ in range(4)]


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_sending_elsewhere_hears_it_too(sockets: Sockets, host: str) -> Seen:
    """The error is the socket's, not the destination's."""
    other = await sockets.bound(host)
    sock = await refused(sockets, host)
    await sock.send(b"?")
    there = other.getsockname()
    return await tried(sock.sendto, b"1", there), await tried(sock.sendto, b"2", there), await tried(other.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_the_option_tells_and_forgets(sockets: Sockets, host: str) -> Seen:
    """SO_ERROR."""
    sock = await refused(sockets, host)
    before = sock.getsockopt(*SO_ERROR)
    await sock.send(b"?")
    return before, sock.getsockopt(*SO_ERROR), sock.getsockopt(*SO_ERROR), await tried(sock.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_the_error_comes_before_what_is_queued(sockets: Sockets, host: str) -> Seen:
    """And costs none of it."""
    server = await sockets.bound(host)
    sock = await sockets.connected(server)
    await server.sendto(b"queued", sock.getsockname())
    server.close()
    await sock.send(b"?")
    return await tried(sock.recv, 10), await tried(sock.recv, 10), await tried(sock.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_connecting_again_keeps_the_error(sockets: Sockets, host: str) -> Seen:
    """Or loses it; whichever, on both."""
    other = await sockets.bound(host)
    sock = await refused(sockets, host)
    await sock.send(b"?")
    return await tried(sock.connect, other.getsockname()), await tried(sock.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_an_unconnected_socket_hears_nothing(sockets: Sockets, host: str) -> Seen:
    """Neither on receiving nor on sending."""
    sock = await sockets.bound(host)
    gone = (host, await sockets.free_port(host))
    sent = [await tried(sock.sendto, b"?", gone) for _ in range(3)]
    return sent, sock.is_readable(), await tried(sock.recv, 10), sock.getsockopt(*SO_ERROR)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_a_socket_connected_elsewhere_hears_nothing(sockets: Sockets, host: str) -> Seen:
    """An error about a datagram that was sent aside is not its peer's."""
    server = await sockets.bound(host)
    sock = await sockets.connected(server)
    await sock.sendto(b"?", (host, await sockets.free_port(host)))
    return await tried(sock.recv, 10), await tried(sock.send, b"?")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("size", [0, 3, 600, 3_000])
@on_both
async def test_the_error_queue_holds_the_whole_story(sockets: Sockets, host: str, size: int) -> Seen:
    """The quote, the extended error and the offender, where it was going, and the flags."""
    sock = await sockets.bound(host, 0, HEARS[host])
    await sock.sendto(bytes(range(256)) * 20 if size > 256 else bytes(size), (host, await sockets.free_port(host)))
    return await tried(sock.recv, 10), await tried(sock.recvmsg, size, 512, ERRORS), sock.is_readable()


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_the_error_queue_of_a_connected_socket(sockets: Sockets, host: str) -> Seen:
    """The same."""
    sock = await refused(sockets, host, HEARS[host])
    await sock.send(b"?")
    return await tried(sock.recv, 10), await tried(sock.recvmsg, 10, 512, ERRORS), await tried(sock.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_the_queue_stays_when_the_error_was_heard_first(sockets: Sockets, host: str) -> Seen:
    """The call that fails and the queue are two ways to hear of it."""
    sock = await sockets.bound(host, 0, HEARS[host])
    there = (host, await sockets.free_port(host))
    sent = [await tried(sock.sendto, bytes([number]), there) for number in range(4)]
    queued = [await tried(sock.recvmsg, 10, 512, ERRORS) for _ in range(2)]
    return sent, queued, sock.getsockopt(*SO_ERROR)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_reading_the_queue_first_spares_the_failing_call(sockets: Sockets, host: str) -> Seen:
    """The error that is pending is that of the queue's next entry."""
    sock = await sockets.bound(host, 0, HEARS[host])
    there = (host, await sockets.free_port(host))
    await sock.sendto(b"1", there)
    seen = [(await sock.recvmsg(10, 0, ERRORS))[0], sock.getsockopt(*SO_ERROR)]
    await sock.sendto(b"2", there)
    seen += [await tried(sock.sendto, b"3", there), await tried(sock.sendto, b"4", there)]
    for _ in range(2):
        seen += [(await tried(sock.recvmsg, 10, 0, ERRORS))[0], sock.getsockopt(*SO_ERROR)]
    return seen


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_an_entry_that_does_not_fit(sockets: Sockets, host: str) -> Seen:
    """Is cut: MSG_TRUNC and MSG_CTRUNC."""
    sock = await sockets.bound(host, 0, HEARS[host])
    there = (host, await sockets.free_port(host))
    seen = []
    for size, space in ((2, 512), (100, 0), (0, 20), (100, 48)):
        await sock.sendto(b"0123456789", there)
        seen.append(await tried(sock.recvmsg, size, space, ERRORS))
    return seen


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_an_empty_error_queue_does_not_wait(sockets: Sockets, host: str) -> Seen:
    """As the standard library has it; Trio waits for it."""
    sock = await sockets.bound(host, 0, HEARS[host])
    return await tried(sock.recvmsg, 10, 512, ERRORS)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("size", [65_508, 65_528, 70_000])
@on_both
async def test_too_large_is_explained_in_the_queue(sockets: Sockets, host: str, size: int) -> Seen:
    """But not what is so large that the kernel does not look at it. It is no error of the socket's."""
    server = await sockets.bound(host)
    sock = await sockets.connected(server, HEARS[host])
    sent = await tried(sock.send, bytes(size))
    queued = await tried(sock.recvmsg, 10, 512, ERRORS) if sock.is_readable() else None
    return sent, queued, sock.getsockopt(*SO_ERROR)


@needs_ipv6
@pytest.mark.parametrize("options", [[HEARS[ONE]], [HEARS[SIX]], [HEARS[ONE], HEARS[SIX]]])
@on_both
async def test_a_dual_stack_socket_needs_both_options(sockets: Sockets, options: list[tuple[int, int, int]]) -> Seen:
    """One for the errors of each version; either is read with its own."""
    seen = []
    for there in ((f"::ffff:{ONE}", await sockets.free_port()), (SIX, await sockets.free_port(SIX))):
        sock = await sockets.bound("::", 0, *options)
        await sock.sendto(b"?", there)
        readable = sock.is_readable()
        seen.append((readable, await tried(sock.recvmsg, 10, 512, ERRORS) if readable else None))
    return seen


@needs_ipv6
@on_both
async def test_a_dual_stack_socket_connected_to_version_4(sockets: Sockets) -> Seen:
    """Hears like any other."""
    sock = sockets.new(SIX)
    await sock.connect((f"::ffff:{ONE}", await sockets.free_port()))
    await sock.send(b"?")
    return await tried(sock.recv, 10), await tried(sock.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_switching_the_option_off_empties_the_queue(sockets: Sockets, host: str) -> Seen:
    """The pending error stays."""
    sock = await sockets.bound(host, 0, HEARS[host])
    await sock.sendto(b"?", (host, await sockets.free_port(host)))
    sock.setsockopt(*HEARS[host][:2], 0)
    return sock.getsockopt(*SO_ERROR), sock.is_readable()


@usual_buffers
@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_many_errors(sockets: Sockets, host: str) -> Seen:
    """The oldest are kept, as many as there is room for."""
    sock = await sockets.bound(host, 0, HEARS[host], (socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000))
    there = (host, await sockets.free_port(host))
    for number in range(40):
        await tried_quietly(sock, struct.pack("=H", number), there)
    found = []
    while sock.is_readable():
        found.append((await sock.recvmsg(10, 0, ERRORS))[0])
        tried_sync(sock.getsockopt, *SO_ERROR)
    return found


async def tried_quietly(sock: Seen, data: bytes, there: Seen) -> None:
    """Send it again if the first call only heard of an error."""
    try:
        await sock.sendto(data, there)
    except ConnectionRefusedError:
        await sock.sendto(data, there)
