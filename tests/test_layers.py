"""Which way the doors open: every module's imports, read from its syntax tree, against the arrows of the design."""

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import trio_udp
from trio_udp import measure, proto, testing

PACKAGE: Final = "trio_udp"
UNKNOWN: Final = "a name made up at run time"
IMPURE: Final = ("trio", "socket", "ssl", "time", "random", "os", "secrets", "logging", "asyncio", "threading")
CLIENT: Final = (f"{PACKAGE}._client", f"{PACKAGE}._pump", f"{PACKAGE}._reply", f"{PACKAGE}._results")
"""The client's modules."""
SERVER: Final = tuple(
    f"{PACKAGE}.{name}"
    for name in ("_server", "_reading", "_answering", "_waiting", "_conclusion", "_role", "_tally", "_handlers")
)
"""The server's, each of which may know those behind it: they are one straight line."""


_BELOW_THE_TEST_KIT: Final = (
    "testing",
    "_chaos",
    "_direction",
    "_faulty",
    "_forging",
    "_given",
    "_net",
    "_random",
    "_relay",
)


class Rule(NamedTuple):
    """What some modules may not import."""

    modules: str
    forbidden: tuple[str, ...]
    allowed: tuple[str, ...] = ()
    """Imports that are forbidden by their parent's name only."""
    exempt: tuple[str, ...] = ()
    """Modules among those that may."""


RULES: Final = {
    "the core does no I/O": Rule(f"{PACKAGE}.proto", IMPURE),
    "the core knows nothing around it": Rule(f"{PACKAGE}.proto", (PACKAGE,), allowed=(f"{PACKAGE}.proto",)),
    "the adapter knows no protocol": Rule(f"{PACKAGE}._net", (PACKAGE,), allowed=(f"{PACKAGE}._net",)),
    "an endpoint knows neither side": Rule(f"{PACKAGE}._endpoint", (*CLIENT, *SERVER)),
    **{f"{name} does not know the server": Rule(name, SERVER) for name in CLIENT},
    **{f"{name} does not know the client": Rule(name, CLIENT) for name in SERVER},
    **{
        f"{name} does not know what it works for": Rule(name, SERVER[:place])
        for place, name in enumerate(SERVER)
        if place
    },
    "the rules of chaos know addresses and nothing else": Rule(
        f"{PACKAGE}._chaos", (PACKAGE, "trio", "socket"), allowed=(f"{PACKAGE}._net", f"{PACKAGE}._words")
    ),
    "how numbers are written is text": Rule(f"{PACKAGE}._layout", (PACKAGE, *IMPURE)),
    "their words are text": Rule(f"{PACKAGE}._words", (PACKAGE, *IMPURE)),
    "what records have in common knows none of them": Rule(f"{PACKAGE}._record", (PACKAGE, *IMPURE)),
    "what is forged is arithmetic": Rule(
        f"{PACKAGE}._forging", (PACKAGE, "trio", "socket"), allowed=(f"{PACKAGE}._chaos",)
    ),
    "nor does what follows them know more": Rule(
        f"{PACKAGE}._direction",
        (PACKAGE, "trio", "socket"),
        allowed=tuple(f"{PACKAGE}.{n}" for n in ("_chaos", "_net")),
    ),
    **{
        f"{name} knows no protocol": Rule(
            f"{PACKAGE}.{name}",
            (PACKAGE,),
            allowed=tuple(f"{PACKAGE}.{other}" for other in ("_chaos", "_direction", "_endpoint", "_forging", "_net")),
        )
        for name in ("_faulty", "_relay")
    },
    "a simulated network knows no protocol": Rule(
        f"{PACKAGE}.testing",
        (PACKAGE,),
        allowed=tuple(f"{PACKAGE}.{name}" for name in _BELOW_THE_TEST_KIT),
        # On top of it: a world of our own clients and servers
        exempt=tuple(f"{PACKAGE}.testing.{name}" for name in ("_world", "_world_report", "_forger")),
    ),
    "measuring is arithmetic": Rule(
        f"{PACKAGE}.measure",
        (*IMPURE, PACKAGE),
        allowed=tuple(f"{PACKAGE}.{name}" for name in ("measure", "proto", "_net", "_record", "_layout")),
        exempt=tuple(
            f"{PACKAGE}.measure.{name}"
            for name in ("_prober", "_run", "_events", "_ramp", "_follow", "_timer", "_calibrate", "_examine")
        ),
    ),
    "nothing but the command needs to measure": Rule(
        PACKAGE, (f"{PACKAGE}.measure",), exempt=(f"{PACKAGE}.measure", f"{PACKAGE}._cli")
    ),
    "nothing needs the command": Rule(PACKAGE, (f"{PACKAGE}._cli",), exempt=(f"{PACKAGE}.__main__", f"{PACKAGE}._cli")),
    "nothing needs the test kit": Rule(
        PACKAGE, (f"{PACKAGE}.testing",), exempt=(f"{PACKAGE}.testing", f"{PACKAGE}._cli.sim")
    ),
}


def below(name: str, roots: tuple[str, ...]) -> bool:
    """Whether the module is one of these, or inside one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def imports(source: str, package: str) -> Iterator[str]:
    """Absolute names of what a module of this package imports, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            # `from .. import _server` names a module, `from ..proto import TU1` something in one: either is covered.
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in ("__import__", "import_module") and not is_of_its_own(node):
                yield UNKNOWN


def is_of_its_own(call: ast.Call) -> bool:
    """Whether a package imports one of its own modules, as `import_module(f".{…}", __name__)`.

    Which ones is to be seen where type checkers look, and `tests/test_imports.py` holds that they are the same.
    """
    match call.args:
        case [ast.JoinedStr(values=[ast.Constant(value="."), _]), ast.Name(id="__name__")]:
            return True
        case _:
            return False


def violations(modules: dict[str, tuple[str, str]]) -> list[str]:
    """Every import that goes the wrong way, of modules given as name: (package, source)."""
    return [
        f"{title}: {name} imports {imported}"
        for title, rule in RULES.items()
        for name, (package, source) in modules.items()
        if below(name, (rule.modules,)) and not below(name, rule.exempt)
        for imported in imports(source, package)
        if imported == UNKNOWN or (below(imported, rule.forbidden) and not below(imported, rule.allowed))
    ]


def installed() -> dict[str, tuple[str, str]]:
    """All modules of the package."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
        package = parts[:-1]
        modules[".".join(package if parts[-1] == "__init__" else parts)] = (".".join(package), path.read_text("utf-8"))
    return modules


def test_every_import_goes_the_right_way() -> None:
    """DESIGN section 3."""
    modules = installed()
    assert {f"{PACKAGE}.proto._client", f"{PACKAGE}._net._batch", f"{PACKAGE}._cli", PACKAGE} <= set(modules)
    assert violations(modules) == []


BAD = {
    f"{PACKAGE}.proto._codec": [
        "import os",
        "import os.path",
        "import struct, time",
        "from random import Random",
        "import trio.lowlevel as low",
        "def late():\n    import logging",
        "if True:\n    from .._net import Address",
        "from .. import _net",
        "from .._net._address import Address",
        "from .. import _errors",
        "import trio_udp",
        "import importlib\nimportlib.import_module('os')",
        "import importlib\nimportlib.import_module(f'..{name}', __name__)",
        "import importlib\nimportlib.import_module(f'.{name}', name)",
    ],
    f"{PACKAGE}._net._batch": ["from ..proto import TU1", "from .. import proto", "import trio_udp.proto._codec"],
    f"{PACKAGE}._endpoint": ["from ._client import Client", "from . import _server"],
    f"{PACKAGE}._client": ["from ._server import Request", "from . import _server", "import trio_udp._server"],
    f"{PACKAGE}._server": ["from ._client import Client", "from ._reply import Reply"],
    f"{PACKAGE}._results": ["from ._server import Request"],
    f"{PACKAGE}._answering": ["from ._client import Client", "from ._server import serve"],
    f"{PACKAGE}._role": ["from ._waiting import WaitingHandlers"],
    f"{PACKAGE}._handlers": ["from ._answering import Answering"],
    f"{PACKAGE}._statistics": ["from ._cli import main", "from .testing import SimNet", "from . import testing"],
    f"{PACKAGE}.measure._ledger": ["import trio", "import time", "from .._endpoint import Endpoint"],
    f"{PACKAGE}._pump": ["from .measure import Prober"],
    f"{PACKAGE}._cli.ping": ["from ..testing import SimNet"],
    f"{PACKAGE}._chaos": ["import trio", "from .proto import TU1", "from .testing import Host"],
    f"{PACKAGE}._direction": ["import trio", "from ._endpoint import Endpoint"],
    f"{PACKAGE}._forging": ["import socket", "from ._relay import relay"],
    f"{PACKAGE}._faulty": ["from .proto import TU1"],
    f"{PACKAGE}._relay": ["from ._client import open_client", "from .testing import SimNet"],
    f"{PACKAGE}.testing._simnet": ["from ..proto import TU1", "from .._client import open_client"],
    f"{PACKAGE}._cli.serve": ["from ..testing import run_world"],
}
GOOD = {
    f"{PACKAGE}.proto._codec": [
        "import enum, struct",
        "from ._errors import ProtocolError",
        "import operator",
        "import timeit",
    ],
    f"{PACKAGE}._net._batch": ["import socket, trio", "from ._address import Address", "from . import _ancillary"],
    f"{PACKAGE}._client": ["from .proto import TU1", "from ._net import Address", "from ._endpoint import Endpoint"],
    f"{PACKAGE}.measure._ledger": ["from ..proto import Times", "from ._records import Lost"],
    f"{PACKAGE}.measure._prober": ["import trio", "from .._endpoint import Endpoint"],
    f"{PACKAGE}.measure._run": ["import trio", "from .._endpoint import Endpoint"],
    f"{PACKAGE}.__main__": ["from ._cli import main"],
    f"{PACKAGE}._cli.sim": ["from ..testing import run_world"],
    f"{PACKAGE}._cli.ping": ["from . import _arguments", "from .._client import open_client", "from .. import serve"],
    f"{PACKAGE}.testing._simnet": ["from . import _adversary", "from .._net import Address"],
}


@pytest.mark.parametrize(("name", "source"), [(name, source) for name, sources in BAD.items() for source in sources])
def test_an_import_the_wrong_way_is_found(name: str, source: str) -> None:
    """The test above can fail: at the top or deep inside, absolute or relative, with a name or without."""
    assert violations({name: (name.rpartition(".")[0], source)})


@pytest.mark.parametrize(("name", "source"), [(name, source) for name, sources in GOOD.items() for source in sources])
def test_an_import_the_right_way_is_left_alone(name: str, source: str) -> None:
    """It does not fail for everything, either."""
    assert violations({name: (name.rpartition(".")[0], source)}) == []


# The command is a thin layer

COMMAND: Final = f"{PACKAGE}._cli"
DOORS: Final = {module.__name__: frozenset(module.__all__) for module in (trio_udp, measure, proto, testing)}
"""Where a program finds what the command is made of, and what it finds there."""
OF_THE_TEST_KIT: Final = {
    "_chaos": ("Conditions", "Packet", "Rule"),
    "_direction": ("Passage",),
    "_faulty": ("faulty_sockets",),
    "_forging": ("Forge", "UNREACHABLE", "forge_at_random"),
    "_net._icmp": ("RawSocketForbidden",),
    "_relay": ("Relay", "relay"),
}
"""Public as names of `trio_udp.testing`, which only `sim` imports (decision 0015): the others take them from where that
has them from."""
FROM_INSIDE: Final = {
    "_interrupt": (("raise_again",), "when `^C` is an exception again, which is for who started the process"),
    "_key_file": (
        ("add_to_key_file", "create_key_file", "free_id", "parse_keys"),
        "files of keys, and the same in the environment: what is in them are `Key`s, and `keygen` prints no more",
    ),
    "_keys": (("ALGORITHMS", "BLAKE2B"), "what an option accepts, and what it is unless given"),
    "_layout": (
        ("authenticated", "clock_text", "counted"),
        "how a number stands in a line: not which, and nothing is computed",
    ),
    "_net": (("normalise", "open_server_sockets"), "workers bind for themselves (decision 0019)"),
    "_words": (("read_share", "write_share"), "how an option for a share is read, and said again"),
}
"""What the command has from inside, and why that is no part of what it finds out and prints."""


def from_inside(modules: dict[str, tuple[str, str]]) -> set[str]:
    """What the command imports from the rest of the package, and a program could not in the same way."""
    return {
        imported
        for name, (package, source) in modules.items()
        if below(name, (COMMAND,))
        for imported in imports(source, package)
        if below(imported, (PACKAGE,)) and not below(imported, (COMMAND,)) and not is_public(imported)
    }


def is_public(imported: str) -> bool:
    """Whether it is a name of a public package, imported from there."""
    module, _, name = imported.rpartition(".")
    return name in DOORS.get(module, ())


def test_whatever_the_command_prints_is_of_public_names() -> None:
    """A program can have it in the same way, documented and typed: nothing is computed for the command alone.

    What draws is the command's, because it takes rich or matplotlib, and so is what shows counters to Prometheus. It is
    given a `View`, a `Series`, a `Summary` or `ServerStatistics`, which are public (decision 0046).
    """
    inside = {module: names for module, (names, _) in FROM_INSIDE.items()}
    allowed = [(module, name) for group in (OF_THE_TEST_KIT, inside) for module in group for name in group[module]]
    assert from_inside(installed()) == {f"{PACKAGE}.{module}.{name}" for module, name in allowed}


def test_what_is_public_in_the_test_kit_is_the_same_there() -> None:
    """By another way the command gets at what everybody gets at."""
    for module, names in OF_THE_TEST_KIT.items():
        home = importlib.import_module(f"{PACKAGE}.{module}")
        assert all(getattr(home, name) is getattr(testing, name) for name in names)
        assert set(names) <= set(testing.__all__)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from ..measure._ledger import Ledger", {"measure._ledger.Ledger"}),
        ("def late():\n    from ..measure import Ledger", {"measure.Ledger"}),
        ("from .. import _net\nfrom .._net import Address", {"_net", "_net.Address"}),
        ("import trio_udp._client", {"_client"}),
        ("from .. import Address\nfrom ..measure import Summary\nfrom ._arguments import number", set()),
    ],
)
def test_what_the_command_has_from_inside_is_found(source: str, found: set[str]) -> None:
    """The test above can fail: for a name that is not public, and for one that is, taken from somewhere else."""
    assert from_inside({f"{COMMAND}.ping": (COMMAND, source)}) == {f"{PACKAGE}.{name}" for name in found}
