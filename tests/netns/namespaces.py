"""Hosts: network namespaces with addresses of their own, joined by a veth pair, for the length of a block.

A socket belongs to the namespace that its thread was in when it was made, so it is made in a thread that goes there,
and used anywhere. Inside `with host.here():`, a Trio program gets such sockets. They are Trio's own, so that the
package reads them by its fastest way.
"""

import contextlib
import contextvars
import ctypes
import fcntl
import functools
import itertools
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import trio

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_UP: Final = 1
_TUN: Final = Path("/dev/net/tun")
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_DIRECTORY: Final = Path("/run/netns")
_numbers: Final = itertools.count(1)
_here: Final[contextvars.ContextVar["Host | None"]] = contextvars.ContextVar("host", default=None)


class Host:
    """A network namespace. Made by `host`."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def ip(self, command: str) -> None:
        """Run `ip` on this host: `host.ip("link set lo up")`."""
        run_ip(f"-n {self.name} {command}")

    def inside(self, fn: Callable[[], T]) -> T:
        """Call this in a thread on this host."""
        with ThreadPoolExecutor(1, initializer=self._enter) as thread:
            return thread.submit(fn).result()

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, proto: int = 0) -> socket.socket:
        """A non-blocking socket on this host."""
        sock = self.inside(functools.partial(socket.socket, family, kind, proto))
        sock.setblocking(False)
        return sock

    def tun(self, device: str) -> int:
        """A descriptor that reads what this host sends through a device of that name, and writes what it receives.

        Non-blocking, and packets as they are.
        """
        return self.inside(functools.partial(_open_tun, device))

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """What runs in this block, and the tasks it starts, is on this host."""
        token = _here.set(self)
        try:
            yield
        finally:
            _here.reset(token)

    def command(self, *words: str) -> list[str]:
        """The words of a command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *words]

    def _enter(self) -> None:
        descriptor = os.open(_DIRECTORY / self.name, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the namespace {self.name}")
        finally:
            os.close(descriptor)


class HostSockets(trio.abc.SocketFactory):
    """Trio's own sockets, made on the host where the task is; in this process's namespace if it is on none."""

    def socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0
    ) -> trio.socket.SocketType:
        """See `trio.abc.SocketFactory.socket`."""
        there = _here.get()
        sock = socket.socket(family, kind, proto) if there is None else there.socket(family, kind, proto)
        return trio.socket.from_stdlib_socket(sock)


def run_ip(command: str) -> None:
    """`ip`, with these words; `OSError` with what it says when it fails."""
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {command}: {done.stderr.strip()}")


@contextlib.contextmanager
def host() -> Iterator[Host]:
    """A host with nothing but a loopback, on which anybody may have any address."""
    new = Host(f"tu{os.getpid()}-{next(_numbers)}")
    run_ip(f"netns add {new.name}")
    try:
        new.ip("link set lo up")
        yield new
    finally:
        run_ip(f"netns del {new.name}")


@contextlib.contextmanager
def cable(*addresses: tuple[str, ...]) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a cable between them, `eth0` on both; two sets of addresses, as `192.0.2.1/24`."""
    with host() as one, host() as other:
        run_ip(f"link add eth0 netns {one.name} type veth peer name eth0 netns {other.name}")
        for end, own in zip((one, other), addresses, strict=True):
            set_up(end, "eth0", own)
        yield one, other


def set_up(end: Host, device: str, addresses: tuple[str, ...]) -> None:
    """Give a device its addresses, at once, and switch it on."""
    end.inside(_believe_forgers)
    end.ip(f"link set {device} up")
    for address in addresses:
        end.ip(f"addr add {address} dev {device}{' nodad' * (':' in address)}")


def loopback_up() -> None:
    """Switch on the loopback of this thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))


def _open_tun(device: str) -> int:
    """In this thread's namespace."""
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN_NO_PI))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _believe_forgers() -> None:
    """Some systems drop what comes from where no route leads."""
    for device in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{device}/rp_filter").write_text("0")


@functools.cache
def why_not() -> str | None:
    """Why no hosts can be made here; None where they can."""
    if shutil.which("ip") is None:
        return "making hosts needs the command ip of iproute2"
    try:
        with cable(("192.0.2.1/24",), ("192.0.2.2/24",)) as (one, _):
            one.socket().close()
            os.close(one.tun("wire0"))
    except OSError as exc:
        return f"making hosts needs root, network namespaces, veth and TUN devices: {exc}"
    return None
