"""`ask`: one request with its schedule, as the book's client sends it."""

import argparse
import contextlib
import os
import sys

import trio

from .. import Attempt, Client, NoReply, PayloadTooLarge, RemoteError, open_client
from .._layout import authenticated, counted
from ._arguments import (
    PROFILES,
    BadInput,
    SubParsers,
    add_family,
    add_port,
    add_profile,
    explain,
    printable,
)
from ._keys import add_key_file, first_key


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser("ask", help="send one request", description="Send one request and print the reply.")
    parser.add_argument("host", metavar="HOST", help="name or address of the server")
    parser.add_argument("text", metavar="TEXT", help="the request")
    add_port(parser, least=1)
    add_family(parser)
    add_profile(parser)
    add_key_file(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="show each attempt and its wait")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 for a reply, 1 for none."""
    return trio.run(_ask, arguments)


async def _ask(arguments: argparse.Namespace) -> int:
    profile = PROFILES[arguments.profile]()
    # Not connected, so that what strangers send is seen and counted.
    opening = open_client(
        arguments.host,
        arguments.port,
        family=arguments.family,
        profile=profile,
        connect=False,
        key=first_key(arguments),
    )
    async with contextlib.AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(opening)
        except OSError as exc:
            raise explain(exc, arguments.host, arguments.port) from None
        except ValueError as exc:  # a key for a format that has no room for its tags
            raise BadInput(str(exc)) from None
        return await _exchange(client, arguments)


async def _exchange(client: Client, arguments: argparse.Namespace) -> int:
    began = trio.current_time()

    def show(attempt: Attempt) -> None:
        at = trio.current_time() - began
        host, port = attempt.peer
        _tell(f"{at:.3f} s: attempt {attempt.number} to {host} port {port}, waiting up to {attempt.wait:.3f} s")

    if arguments.verbose:
        profile = client.profile
        _tell(f"asking from port {client.address.port}, profile {profile.name}, verified: {profile.verified}")
    try:
        reply = await client.exchange(os.fsencode(arguments.text), on_attempt=show if arguments.verbose else None)
    except (PayloadTooLarge, ValueError) as exc:
        raise BadInput(str(exc)) from None
    except (NoReply, RemoteError) as exc:
        _tell(f"trio_udp ask: {exc}")
        return 1
    else:
        if arguments.verbose:
            took = f"{reply.rtt * 1000:.3f} ms, attempts: {reply.attempts}"
            _tell(f"reply from {reply.peer} in {took}, {authenticated(reply.authenticated)}")
        print(printable(reply.payload), flush=True)
        return 0
    finally:
        dropped = client.statistics().dropped
        if dropped:
            _tell(f"dropped: {counted(dropped)}")


def _tell(line: str) -> None:
    """Stderr, so that stdout holds the reply and nothing else."""
    print(line, file=sys.stderr, flush=True)
