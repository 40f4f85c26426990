"""`ping` for many: files of hosts, all addresses, names that move, and many ports."""

import io
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

import trio_udp
from trio_udp._cli import main, ping
from trio_udp._cli._targets import targets_of, told_apart
from trio_udp._key_file import create_key_file
from trio_udp.measure import Distribution, Lines, Recording, from_json, parse_condition, runs_of, table_lines

from ..measure.records import summary
from ..networks import MovingName, moving_name, serving
from .command import MODULE, run_here
from .test_objectives import echo, silent
from .test_ping import arguments, ping_code


def write(path: Path, text: str) -> str:
    """A file of hosts, and its name."""
    path.write_text(text)
    return str(path)


async def test_hosts_come_from_files_and_the_command_line(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Comments and empty lines are none; each has its sums, and all have a table."""
    name = write(tmp_path / "hosts", "# ours\n\n127.0.0.2  # the second\n  127.0.0.3\n")
    async with serving(echo, host="0.0.0.0") as server:  # noqa: S104 - all of 127.0.0.0/8
        assert await ping._ping(arguments(port=server.address.port, files=[name], count=2, quiet=True)) == 0
    out = capsys.readouterr().out.splitlines()
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert [line.split()[1] for line in out if line.startswith("---")] == hosts
    assert [line.split()[:4] for line in out[-3:]] == [[host, "2", "2", "0%"] for host in hosts]
    assert "p99 ms" in out[-4]


async def test_one_host_without_replies_is_exit_code_1_for_all(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are measured to their end."""
    async with serving(echo, host="127.0.0.1") as server:
        hosts = ["127.0.0.1", "127.0.0.2"]
        assert await ping._ping(arguments(port=server.address.port, hosts=hosts, count=2, wait=1.0, quiet=True)) == 1
    rows = [line.split()[:4] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [["127.0.0.1", "2", "2", "0%"], ["127.0.0.2", "2", "0", "100%"]]


async def test_hosts_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of -."""
    monkeypatch.setattr("sys.stdin", io.StringIO("127.0.0.1\n127.0.0.2"))
    targets = await targets_of(arguments(hosts=["127.0.0.3"], files=["-"]))
    assert [target.host for target in targets] == ["127.0.0.3", "127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# nothing\n", "expected a host in"),
        ("one two\n", "expected one host a line, got 'one two' in line 1 of"),
        ("\n" + "x" * 1002, "expected one host a line, got '" + "x" * 60 + "' in line 2 of"),
        ("127.0.0.1\n" * 1025, "expected at most 1024 hosts, got more in"),
    ],
)
def test_a_file_that_is_none_of_hosts_is_one_line_and_exit_code_2(tmp_path: Path, text: str, said: str) -> None:
    """With the line's number, if there is one."""
    code, out, err = run_here("ping", "-c", "1", "--hosts", write(tmp_path / "hosts", text))
    assert (code, out, len(err)) == (2, [], 1)
    assert said in err[0]


def test_a_file_that_cannot_be_read_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """Because it is not there, or no text."""
    code, _, err = run_here("ping", "--hosts", str(tmp_path / "none"))
    assert (code, err) == (
        2,
        [f"trio_udp ping: cannot read hosts from '{tmp_path / 'none'}': No such file or directory"],
    )
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    code, _, err = run_here("ping", "--hosts", str(tmp_path / "bytes"))
    assert (code, err) == (2, [f"trio_udp ping: cannot read hosts from '{tmp_path / 'bytes'}': it is no text in UTF-8"])


async def test_lines_of_other_systems_are_hosts_as_well(tmp_path: Path) -> None:
    """Those that end in CR, and a mark of byte order before the first."""
    (tmp_path / "hosts").write_bytes(b"\xef\xbb\xbf127.0.0.2\r\n# none\r\n\r\n127.0.0.3\r\n")
    targets = await targets_of(arguments(hosts=[], files=[str(tmp_path / "hosts")]))
    assert [target.host for target in targets] == ["127.0.0.2", "127.0.0.3"]


async def test_a_host_that_is_named_again_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """In a stream, too: whoever reads one knows a run by its host, and would take two for one."""
    targets = await targets_of(arguments(hosts=["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1"]))
    assert [target.label for target in targets] == ["127.0.0.1", "127.0.0.2", "127.0.0.1 (2)", "127.0.0.1 (3)"]
    assert {target.host for target in targets} == {"127.0.0.1", "127.0.0.2"}
    async with serving(echo, host="127.0.0.1") as server:
        again = {"hosts": ["127.0.0.1", "127.0.0.1"], "port": server.address.port}
        assert await ping._ping(arguments(**again, json=True, count=20, interval=0.001)) == 0
    runs = runs_of(Lines(io.StringIO(capsys.readouterr().out)), Recording)
    assert sorted(run.host for run in runs) == ["127.0.0.1", "127.0.0.1 (2)"]
    assert all(run.is_complete and run.summary().received == 20 for run in runs)


def test_an_address_that_a_name_comes_back_to_is_told_apart() -> None:
    """Its run is another one."""
    assert list(told_apart(["n (A)", "n (B)", "n (A)"])) == ["n (A)", "n (B)", "n (A) (2)"]


def test_hosts_stand_before_and_behind_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever adds one to a command writes it at its end."""
    assert main(["ping", "127.0.0.1", "-q", "-c", "1", "127.0.0.2", "-W", "0.01", "-p", "9"]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["127.0.0.1", "127.0.0.2"]
    assert main(["ping", "127.0.0.1", "--nonsense", "127.0.0.2"]) == 2
    assert capsys.readouterr().err == "trio_udp ping: unrecognized arguments: --nonsense 127.0.0.2 (see --help)\n"


def test_too_many_paths_are_one_line_and_exit_code_2() -> None:
    """Hosts by ports."""
    code, _, err = run_here("ping", "127.0.0.1", "127.0.0.2", "--ports", "600")
    assert (code, err) == (2, ["trio_udp ping: expected at most 1024 paths to measure, got 1200"])


@pytest.mark.parametrize(("limit", "code"), [("-S -n", 0), ("-n", 2)])
async def test_as_many_paths_as_the_system_allows_are_measured(limit: str, code: int) -> None:
    """Not only as many as a process has descriptors to begin with; and where it may have no more, that is one line."""
    command = f"ulimit {limit} 64 && exec {' '.join(MODULE)} ping --ports 80 -c 1 -i 0.1 -q"
    done = await trio.run_process(["sh", "-c", command], capture_stdout=True, capture_stderr=True, check=False)
    said = "trio_udp ping: this process may have no more files and sockets open, expected a higher limit (ulimit -n)\n"
    assert (done.returncode, done.stderr.decode()) == (code, said if code else "")
    assert done.stdout.count(b" from port ") == (0 if code else 80)


async def test_all_addresses_of_a_name_are_measured(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each as a host of its own, under both names."""
    moving_name("127.0.0.2", "127.0.0.3")
    async with serving(echo, host="0.0.0.0") as server:  # noqa: S104 - all of 127.0.0.0/8
        port = server.address.port
        found = arguments(port=port, hosts=["server.test", "127.0.0.1"], all_addresses=True, count=1, quiet=True)
        assert await ping._ping(found) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[-3:]] == ["server.test/127.0.0.2", "server.test/127.0.0.3", "127.0.0.1"]


async def test_a_name_that_moves_is_followed(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    """A run for each address, and no probe more than asked for."""
    names = moving_name("127.0.0.2")
    asked = []

    def note(request: trio_udp.Request) -> bytes:
        asked.append(request.local.host)
        if len(asked) == 3:
            names.addresses[:] = ["127.0.0.3", "127.0.0.4"]
        return request.payload

    async with serving(note, host="0.0.0.0") as server:  # noqa: S104 - all of 127.0.0.0/8
        found = arguments(port=server.address.port, hosts=["server.test"], resolve_every=1.5, count=6, quiet=True)
        assert await ping._ping(found) == 0
    assert len(asked) == 6
    assert asked == sorted(asked)
    assert set(asked) == {"127.0.0.2", "127.0.0.3"}
    printed = capsys.readouterr()
    assert printed.err == "server.test: is now 127.0.0.3, and no more 127.0.0.2\n"
    rows = [line.split()[:2] for line in printed.out.splitlines()[-2:]]
    assert rows == [["server.test", "(127.0.0.2)"], ["server.test", "(127.0.0.3)"]]


async def test_a_name_that_vanishes_is_no_reason_to_stop(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last address is asked on, and it is said once."""
    names = moving_name("127.0.0.1")
    async with serving(echo, host="127.0.0.1") as server, trio.open_nursery() as nursery:
        nursery.start_soon(vanish, names)
        found = arguments(port=server.address.port, hosts=["server.test"], resolve_every=0.5, count=6, quiet=True)
        assert await ping._ping(found) == 0
    printed = capsys.readouterr()
    assert printed.err == "server.test: cannot be resolved: Name or service not known\n"
    assert "6 packets transmitted, 6 received" in printed.out


async def vanish(names: MovingName) -> None:
    """After a while."""
    await trio.sleep(1.2)
    names.addresses.clear()


async def test_a_name_without_an_address_is_waited_for(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until it has one, or until the deadline."""
    names = moving_name()

    async def appear() -> None:
        await trio.sleep(2.2)
        names.addresses.append("127.0.0.1")

    async with serving(echo, host="127.0.0.1") as server, trio.open_nursery() as nursery:
        port = server.address.port
        found = arguments(port=port, hosts=["server.test"], resolve_every=0.5, deadline=1.0, quiet=True)
        assert await ping._ping(found) == 1
        assert "no address to send to" in capsys.readouterr().out
        found.fail_if = [parse_condition("loss>1%")]
        assert await ping._ping(found) == 3
        nursery.start_soon(appear)
        found = arguments(port=port, hosts=["server.test"], resolve_every=0.5, count=3, deadline=9.0, quiet=True)
        assert await ping._ping(found) == 0
        found = arguments(
            port=port, hosts=["server.test"], resolve_every=0.5, quiet=True, wait_for=[parse_condition("replies>=2")]
        )
        assert await ping._ping(found) == 0


async def test_each_port_is_a_path_and_the_best_is_first(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that does not answer one of three ports is what a broken path of several looks like."""
    ports: list[int] = []

    def unfair(request: trio_udp.Request) -> bytes | None:
        if request.peer.port not in ports:
            ports.append(request.peer.port)
        return None if request.peer.port == ports[0] else request.payload

    assert (await ping_code(unfair, ports=3, count=4, wait=1.0))[0] == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert [row[5] for row in rows] == ["4", "4", "0"]
    assert int(rows[-1][3]) == ports[0]
    assert sorted(int(row[3]) for row in rows) == sorted(ports)


async def test_ports_share_an_interval(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    """They begin one after the other: the last of four at three quarters of a second."""
    began = trio.current_time()
    at: list[float] = []

    def note(request: trio_udp.Request) -> bytes:
        at.append(trio.current_time() - began)
        return request.payload

    assert (await ping_code(note, ports=4, count=1))[0] == 0
    assert at == [0.0, 0.25, 0.5, 0.75]
    assert (await ping_code(silent, ports=2, count=1, wait=1.0, fail_if=[parse_condition("loss>1%")]))[0] == 3
    assert capsys.readouterr().err.count("broken objective loss>1%: loss is 100%") == 2


def test_a_table_has_a_line_for_each() -> None:
    """Names to the left, figures to the right, and no figure where there was no reply."""
    rtt = Distribution(count=2, p50_ns=1_500_000, p99_ns=20_000_000, max_ns=123_456_789)
    rows = [
        ("one", summary(sent=3, received=2, lost_upstream=1, rtt=rtt)),
        ("the other", summary(sent=1000, lost_unknown=1000)),
    ]
    assert table_lines(rows) == [
        "           sent  received    loss  up/down/unknown  p50 ms  p99 ms  max ms",
        "one           3         2  33.33%            1/0/0    1.50    20.0     123",
        "the other  1000         0    100%         0/0/1000       -       -       -",
    ]


async def test_programs_are_told_of_every_path(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With `--json`, each port has its events, there is no table, and objectives hold as for people."""
    found = {"ports": 2, "count": 2, "json": True, "pcap": str(tmp_path / "both.pcapng")}
    assert (await ping_code(echo, **found, fail_if=[parse_condition("loss<1%")]))[0] == 3
    printed = capsys.readouterr()
    lines = [from_json(line) for line in printed.out.splitlines()]
    kinds = {host: [event.kind for host_of, event in lines if host_of == host] for host, _ in lines}
    assert list(kinds.values()) == [["start", "reply", "reply", "summary"]] * 2
    assert printed.err.count("broken objective loss<1%: loss is 0%") == 2
    assert (tmp_path / "both.pcapng").stat().st_size > 0


async def test_a_flood_over_many_ports_prints_a_table_and_no_dots(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are there dots among rows for programs."""
    assert (await ping_code(echo, ports=2, count=2, flood=True))[0] == 0
    assert capsys.readouterr().out.startswith("\n  ")
    assert (await ping_code(echo, count=2, flood=True, csv=True))[0] == 0
    assert [line.split(",")[1] for line in capsys.readouterr().out.splitlines()] == ["outcome", "reply", "reply"]


async def test_every_path_is_under_the_key(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With many ports and with a name that moves; without it nobody answers."""
    create_key_file(str(tmp_path / "keys"), trio_udp.Key(7, bytes(32)))
    keys = trio_udp.load_keys(tmp_path / "keys")
    async with serving(echo, host="127.0.0.1", keys=keys) as server:
        for ways in ({"ports": 2}, {"resolve_every": 5.0}):
            found = arguments(port=server.address.port, count=1, wait=1.0, quiet=True, **ways)
            assert await ping._ping(found) == 1
            found.key_file = str(tmp_path / "keys")
            assert await ping._ping(found) == 0
