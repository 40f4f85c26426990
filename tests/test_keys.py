"""Keys in programs: a client and a server that share one, or do not, over every network."""

import ast
import copy
import functools
import itertools
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

import trio_udp
from trio_udp import DropReason, Key, RetryPolicy
from trio_udp._keys import ALGORITHMS

from .networks import (
    NetworkName,
    echo,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    serving,
)

SECRET = b"canary: nobody may see this one."
SHOWN = (SECRET, SECRET.hex().encode(), b"Y2FuYXJ5OiBub2JvZHkgbWF5IHNlZSB0aGlzIG9uZS4", b"canary")
"""What the secret looks like in bytes, hexadecimal and base64."""
ONCE = RetryPolicy(initial=1, jitter=0, attempts=1)
PATIENT = RetryPolicy(initial=100, jitter=0, attempts=1)


def shows_secret(text: str | bytes) -> bool:
    """Whether any of it stands there."""
    data = (text.encode() if isinstance(text, str) else text).lower()
    return any(form.lower() in data for form in SHOWN)


@pytest.fixture(params=ALGORITHMS)
def key(request: pytest.FixtureRequest) -> Key:
    """A key of each algorithm."""
    if request.param == "aes-siv-cmac-256":
        pytest.importorskip("cryptography", reason="aes-siv-cmac-256 needs the package cryptography")
    return Key(7, SECRET, algorithm=request.param)


# Asking and answering


async def test_who_shares_a_key_is_authenticated(network: NetworkName, key: Key) -> None:
    """F1, F8: on both sides; also where the reply needs room, so that all kinds of answers are under way."""
    seen: list[bool] = []

    def longer(request: trio_udp.Request) -> bytes:
        seen.append(request.authenticated)
        return request.payload * 3

    async with (
        serving(longer, host="127.0.0.1", keys=[key]) as server,
        trio_udp.open_client(*server.address, key=key) as client,
    ):
        reply = await client.exchange(b"what?", policy=PATIENT)
        assert (reply.payload, reply.authenticated, client.authenticated) == (b"what?" * 3, True, True)
        assert seen == [True, True]
        assert client.statistics().dropped == {}
        assert server.statistics().dropped == {DropReason.OVER_BUDGET: 1}


async def test_without_a_key_nothing_is_authenticated(network: NetworkName) -> None:
    """F8."""
    seen: list[bool] = []

    def note(request: trio_udp.Request) -> bytes:
        seen.append(request.authenticated)
        return b""

    async with serving(note, host="127.0.0.1") as server, trio_udp.open_client(*server.address) as client:
        assert not (await client.exchange(b"?", policy=PATIENT)).authenticated
        assert not client.authenticated
    assert seen == [False]


@pytest.mark.parametrize(
    ("asks", "accepts"),
    [(Key(1, SECRET), [Key(1, bytes(32))]), (Key(2, SECRET), [Key(1, SECRET)]), (None, [Key(1, SECRET)])],
    ids=["another secret", "another id", "no key"],
)
async def test_who_does_not_share_a_key_gets_no_answer(
    network: NetworkName, autojump_clock: trio.testing.MockClock, asks: Key | None, accepts: list[Key]
) -> None:
    """F1: counted as `bad_seal`, and no handler runs."""
    async with serving(echo, host="127.0.0.1", keys=accepts) as server:
        async with trio_udp.open_client(*server.address, key=asks) as client:
            with pytest.raises(trio_udp.NoReply):
                await client.request(b"?", policy=ONCE)
        assert server.statistics().dropped == {DropReason.BAD_SEAL: 1}
        assert server.statistics().requests == 0


async def test_a_client_with_a_key_ignores_a_server_without(
    network: NetworkName, autojump_clock: trio.testing.MockClock
) -> None:
    """The other way round; the server does not even answer."""
    async with serving(echo, host="127.0.0.1") as server:
        async with trio_udp.open_client(*server.address, key=Key(1, SECRET)) as client:
            with pytest.raises(trio_udp.NoReply):
                await client.request(b"?", policy=ONCE)
        assert server.statistics().dropped == {DropReason.BAD_SEAL: 1}


async def test_a_server_may_take_both(network: NetworkName) -> None:
    """And its handler is told which is which."""

    def tell(request: trio_udp.Request) -> bytes:
        return b"yes" if request.authenticated else b"no"

    key = Key(1, SECRET)
    async with serving(tell, host="127.0.0.1", keys=[key], allow_unkeyed=True) as server:
        for asks, answer in ((key, b"yes"), (None, b"no")):
            async with trio_udp.open_client(*server.address, key=asks) as client:
                assert await client.request(b"me?", policy=PATIENT) == answer


async def test_a_waiting_handler_answers_under_the_key_it_was_asked_with(network: NetworkName) -> None:
    """F5: also if that key is not accepted any more when it answers."""
    old, new = Key(1, SECRET), Key(2, bytes(32))
    begun, go_on = trio.Event(), trio.Event()

    async def wait(request: trio_udp.Request) -> bytes:
        begun.set()
        await go_on.wait()
        return request.payload

    async with (
        serving(wait, host="127.0.0.1", keys=[old]) as server,
        trio_udp.open_client(*server.address, key=old) as client,
        trio.open_nursery() as nursery,
    ):

        async def ask() -> None:
            assert await client.request(b"?", policy=PATIENT) == b"?"

        nursery.start_soon(ask)
        await begun.wait()
        server.set_keys([new])
        go_on.set()


async def test_rotation_with_overlapping_keys_loses_no_request(
    network: NetworkName, autojump_clock: trio.testing.MockClock
) -> None:
    """F5: forty clients' tasks that never pause, and three rotations; no datagram is dropped, so none is sent again."""
    keys = [Key(id_, bytes([id_]) * 32) for id_ in (1, 2, 3, 4)]
    replies = 0
    async with serving(echo, host="127.0.0.1", keys=keys[:1]) as server:
        async with trio_udp.open_client(*server.address, key=keys[0]) as client:
            steps: dict[int, Callable[[], None]] = {}
            for number, (old, new) in enumerate(itertools.pairwise(keys)):
                steps[300 * number + 200] = functools.partial(server.set_keys, [new, old])
                steps[300 * number + 300] = functools.partial(client.set_key, new)
                steps[300 * number + 400] = functools.partial(server.set_keys, [new])

            async def ask() -> None:
                nonlocal replies
                for number in range(30):
                    reply = await client.exchange(b"%d" % number, policy=PATIENT)
                    assert (reply.payload, reply.attempts, reply.authenticated) == (b"%d" % number, 1, True)
                    replies += 1
                    steps.pop(replies, lambda: None)()

            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(ask)
            assert not steps
            assert client.statistics().dropped == {}
        assert replies == 40 * 30
        assert server.statistics().dropped == {}


# What makes no sense


async def test_keys_that_could_not_do_what_they_promise_are_refused(network: NetworkName) -> None:
    """Before a socket is opened, or as soon as it can be known."""
    key = Key(1, SECRET)
    with pytest.raises(ValueError, match="profile book has no room for a tag"):
        async with trio_udp.open_client("127.0.0.1", 9, profile=trio_udp.Book(), key=key):
            raise AssertionError
    for keys, expected in (
        ([], "expected at least one key, got none"),
        ([key, Key(1, bytes(32))], "expected every key to have an id of its own, got 1 twice"),
    ):
        with pytest.raises(ValueError, match=expected):
            await trio_udp.serve(echo, 0, keys=keys)
    async with serving(echo, host="127.0.0.1") as server:
        with pytest.raises(ValueError, match="expected at least one key"):
            server.set_keys([])
        async with trio_udp.open_client(*server.address) as client:
            with pytest.raises(ValueError, match="expected a client that was opened with a key"):
                client.set_key(key)


@pytest.mark.parametrize(
    ("make", "error", "expected"),
    [
        (lambda: Key(0, SECRET), ValueError, "expected a key id from 1 to 255, got 0"),
        (lambda: Key(256, SECRET), ValueError, "expected a key id from 1 to 255, got 256"),
        (lambda: Key("1", SECRET), TypeError, "expected the key id to be an int, got str"),  # type: ignore[arg-type]  # that is the point
        (lambda: Key(1, SECRET.decode()), TypeError, "expected the secret to be bytes, got str"),  # type: ignore[arg-type]  # again
        (lambda: Key(1, SECRET[:15]), ValueError, "expected a secret of 16 to 64 bytes, got one of 15"),
        (lambda: Key(1, SECRET * 3), ValueError, "expected a secret of 16 to 64 bytes, got one of 96"),
        (lambda: Key(1, SECRET, algorithm="md5"), ValueError, "expected one of the algorithms blake2b-128, .*'md5'"),
        (lambda: Key(1, SECRET[:16], algorithm="aes-siv-cmac-256"), ValueError, "expected a secret of 32 bytes"),
        (
            lambda: Key.from_line("canary"),
            ValueError,
            "expected an id, an algorithm and a secret in base64, got 1 words",
        ),
        (lambda: Key.from_line("canary blake2b-128 1"), ValueError, "expected a key id from 1 to 255 at the beginning"),
        (lambda: Key.from_line("1 canary 1"), ValueError, "expected one of the algorithms .* behind the id"),
        (lambda: Key.from_line("1 blake2b-128 canary"), ValueError, "expected a secret in base64 at the end"),
        (lambda: Key.from_line("1 blake2b-128 canäry=="), ValueError, "expected a secret in base64 at the end"),
        (
            lambda: Key.from_line("9999999 blake2b-128 " + "A" * 44),
            ValueError,
            "expected a key id from 1 to 255, got 9999",
        ),
        (lambda: pickle.dumps(Key(1, SECRET)), TypeError, "a key cannot be pickled or copied"),
        (lambda: copy.deepcopy(Key(1, SECRET)), TypeError, "a key cannot be pickled or copied"),
    ],
)
def test_a_key_that_is_wrong_is_refused_without_showing_it(
    make: Callable[[], object], error: type[Exception], expected: str
) -> None:
    """F4: what stands where a secret could stand is not repeated, nor is it in the error's chain."""
    with pytest.raises(error, match=expected) as caught:
        make()
    said = "".join(line for line in traceback.format_exception(caught.value) if "lambda" not in line)
    assert not shows_secret(said), said


# What is shown


def test_a_key_never_shows_its_secret(key: Key) -> None:
    """F4: in no way but the one that is made for it."""
    assert repr(key) == f"<Key 7, {key.algorithm}>"
    for text in (repr(key), str(key), f"{key}", repr([key]), repr(key.seal), str(vars(Key))):
        assert not shows_secret(text)
    assert not hasattr(key, "__dict__")
    assert shows_secret(key.to_line())


def test_a_line_is_read_as_it_was_written(key: Key) -> None:
    """And blanks around it do not matter."""
    again = Key.from_line(f"  {key.to_line()}\n")
    assert again.to_line() == key.to_line()
    assert (again.id, again.algorithm) == (7, key.algorithm)


def test_keys_that_are_generated_differ() -> None:
    """From the system's random source, 32 bytes each."""
    lines = {Key.generate(3, algorithm="hmac-sha-256-128").to_line() for _ in range(100)}
    assert len(lines) == 100
    assert all(line.startswith("3 hmac-sha-256-128 ") and len(line.split()[2]) == 44 for line in lines)


# How tags are compared

TAG_WORDS = ("tag", "digest", "hexdigest", "mac", "secret")


def compared_tags(source: str) -> Iterator[str]:
    """Comparisons of what is called a tag, or comes from a hash: `==` stops at the first byte that differs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and not all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            for operand in (node.left, *node.comparators):
                if _is_tag(operand):
                    yield ast.unparse(node)


def _is_tag(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower() in TAG_WORDS
        case (
            ast.Call(func=ast.Name(id="bytes" | "bytearray" | "memoryview"), args=[argument])
            | ast.Subscript(value=argument)
        ):
            return _is_tag(argument)
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in TAG_WORDS
    return False


def test_tags_are_compared_in_constant_time_only() -> None:
    """F3: nowhere in the package is a tag compared in another way than by `hmac.compare_digest`, and there it is."""
    package = Path(trio_udp.__file__).parent
    kit = package / "testing"  # where a digest is a name for what has happened, and no secret
    sources = {path: path.read_text("utf-8") for path in package.rglob("*.py") if kit not in path.parents}
    assert {path.name: found for path, text in sources.items() if (found := list(compared_tags(text)))} == {}
    assert "hmac.compare_digest(" in next(text for path, text in sources.items() if path.name == "_seal.py")


@pytest.mark.parametrize(
    "line",
    ["tag == other", "a != message.tag", "state.digest()[:16] == b", "x == h.hexdigest()", "bytes(tag) in tags"],
)
def test_a_comparison_of_tags_is_found(line: str) -> None:
    """The test above can fail."""
    assert list(compared_tags(line)) == [line]


def test_an_algorithm_that_needs_a_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a traceback of somebody else's."""
    for name in ("cryptography", "cryptography.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    expected = r"aes-siv-cmac-256 needs the package cryptography: pip install 'trio-udp\[aead\]'"
    with pytest.raises(ImportError, match=expected) as caught:
        Key.generate(algorithm="aes-siv-cmac-256")
    assert caught.value.__cause__ is None


async def test_what_is_no_key_is_refused_at_once_without_a_word_of_it() -> None:
    """F4: a secret in the place of its key, or a key in the place of a list, is easily written."""
    secret = b"this is the secret, and nobody's business"
    key = Key(1, secret)
    for wrong, said in ((secret, "expected a Key, got bytes"), ([key], "expected a Key, got list")):
        with pytest.raises(TypeError, match=f"^{said}$"):
            async with trio_udp.open_client("127.0.0.1", 9, key=wrong):  # type: ignore[arg-type]
                pass
        async with trio_udp.open_client("127.0.0.1", 9, key=key) as client:
            with pytest.raises(TypeError, match=f"^{said}$"):
                client.set_key(wrong)  # type: ignore[arg-type]
    for keys, said in (([secret], "expected a Key, got bytes"), (key, "expected keys in a list, got a Key")):
        with pytest.raises(TypeError, match=f"^{said}$"):
            await trio_udp.serve(lambda request: request.payload, 0, host="127.0.0.1", keys=keys)  # type: ignore[arg-type]
