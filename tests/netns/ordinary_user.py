"""`python -m tests.netns.ordinary_user`: become one, and forge replies and ICMP on a loopback of one's own.

What `unshare -Urn` does, from inside: this interpreter may be where an ordinary user cannot read it, so everything that
is needed is loaded before. Exit code 2 says that users may not make namespaces here.
"""

import ctypes
import encodings.idna  # noqa: F401 - what looks up addresses would load it later
import errno
import os
import sys
from pathlib import Path
from typing import Final

import trio

from .namespaces import loopback_up
from .scene import forgeries, scene

NOBODY: Final = 65_534
_PR_SET_DUMPABLE: Final = 4
_CLONE_NEWUSER_AND_NEWNET: Final = 0x10000000 | 0x40000000


def become_ordinary() -> None:
    """Give up root, and everything that goes with it, for good."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # without it /proc/self stays root's
    assert os.geteuid() != 0


def enter_own_namespaces() -> None:
    """Be root in a user namespace that has a network namespace of its own."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER_AND_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


async def forge() -> list[str]:
    """What came of it, a line each."""
    async with scene(None, None, "127.0.0.1", "127.0.0.1", connect=False) as play:
        for forged in forgeries(play.request):
            play.forger.send(forged, play.server, play.asker)
        dropped = await play.counted(8)
        for kind in ("port unreachable", "fragmentation needed"):
            play.forge_icmp(kind)
        hints = await play.hinted(2)
    assert play.reply is not None
    return [
        "dropped: " + ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())),
        "hints: " + " ".join(sorted(hints)),
        f"answer: {play.reply.payload.decode()} after {play.reply.attempts} attempt",
    ]


def main() -> int:
    """Print what came of it."""
    try:
        become_ordinary()
        enter_own_namespaces()
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL, errno.ENOSYS):
            raise
        print(f"an ordinary user may make no namespaces here: {exc}", file=sys.stderr)
        return 2
    loopback_up()
    for line in trio.run(forge):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
