"""Key files: who may read them, what may stand in them, and how they are written."""

import os
import stat
import threading
from pathlib import Path

import pytest

from trio_udp import Key, load_keys
from trio_udp._key_file import add_to_key_file, create_key_file, free_id

from .test_keys import shows_secret

CANARY = "Y2FuYXJ5OiBub2JvZHkgbWF5IHNlZSB0aGlzIG9uZS4="
LINE = f"1 blake2b-128 {CANARY}\n"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file with this text and mode."""
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_come_in_the_order_of_their_lines(tmp_path: Path) -> None:
    """The first is the one to ask with; comments and empty lines are skipped."""
    path = write(tmp_path / "keys", f"# two keys\n\n 9 hmac-sha-256-128 {CANARY} \n  # old\n{LINE}")
    assert [(key.id, key.algorithm) for key in load_keys(path)] == [(9, "hmac-sha-256-128"), (1, "blake2b-128")]
    assert [key.id for key in load_keys(str(path))] == [9, 1]


def test_a_directory_is_named_and_its_descriptor_closed(tmp_path: Path) -> None:
    """A server that is told again and again to read it would run out of them; and nobody knows what number 3 is."""
    before = free_descriptor()
    with pytest.raises(IsADirectoryError) as caught:
        load_keys(tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert free_descriptor() == before


def free_descriptor() -> int:
    """The lowest that is not in use."""
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """F4: read, write or run, group or all."""
    path = write(tmp_path / "keys", LINE, mode)
    with pytest.raises(
        ValueError, match=f"expected nobody but its owner to have access, got mode {mode:04o}"
    ) as caught:
        load_keys(path)
    assert not shows_secret(str(caught.value))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_that_only_its_owner_may_use_is_read(tmp_path: Path, mode: int) -> None:
    """Whatever he may do with it."""
    assert len(load_keys(write(tmp_path / "keys", LINE, mode))) == 1


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it may change it, and put his own key there."""
    path = write(tmp_path / "keys", LINE)
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(ValueError, match=f"expected it to belong to user {owner + 1}, got {owner}"):
        load_keys(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe, which could keep us waiting; a directory; a device."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ValueError, match="expected a regular file"):
            load_keys(path)
    with pytest.raises((ValueError, IsADirectoryError)):
        load_keys(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_keys(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected at least one key, got none"),
        ("# nothing\n", "expected at least one key, got none"),
        (CANARY, "line 1: expected an id, an algorithm and a secret in base64, got 1 words"),
        (f"# one\n{CANARY} blake2b-128 1\n", "line 2: expected a key id from 1 to 255"),
        (f"1 {CANARY} blake2b-128", "line 1: expected one of the algorithms"),
        (f"1 blake2b-128 {CANARY}!", "line 1: expected a secret in base64"),
        (f"0 blake2b-128 {CANARY}", "line 1: expected a key id from 1 to 255, got 0"),
        (LINE + LINE, "line 2: expected an id that is not used above, got 1 again"),
        ("\0" * 70_000, "expected at most 65536 bytes, got more"),
        (f"1 blake2b-128 {CANARY}\udcff", "line 1: expected a secret in base64"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_without_showing_it(tmp_path: Path, text: str, expected: str) -> None:
    """F4: the line's number is enough to find it."""
    path = tmp_path / "keys"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(ValueError, match=expected) as caught:
        load_keys(path)
    assert str(path) in str(caught.value)
    assert not shows_secret(str(caught.value))
    assert caught.value.__cause__ is None


def test_a_new_file_is_for_its_owner_only_and_replaces_nothing(tmp_path: Path) -> None:
    """F4: whatever the umask allows; a link that leads elsewhere is something that is there, too."""
    path, key = tmp_path / "keys", Key.generate(4)
    before = os.umask(0)
    try:
        create_key_file(str(path), key)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.to_line() for found in load_keys(path)] == [key.to_line()]
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for taken in (path, tmp_path / "link"):
        with pytest.raises(FileExistsError):
            create_key_file(str(taken), Key.generate())
    assert not (tmp_path / "target").exists()
    assert len(load_keys(path)) == 1


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_key_is_added_behind_the_others(tmp_path: Path, end: str) -> None:
    """What stood there stays, comments and links too, and nothing is left behind."""
    path = write(tmp_path / "keys", f"# mine\n{LINE.strip()}{end}")
    (tmp_path / "link").symlink_to(path)
    key = Key.generate(2)
    add_to_key_file(str(tmp_path / "link"), key)
    assert path.read_text() == f"# mine\n{LINE}{key.to_line()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["keys", "link"]


def test_two_who_add_at_the_same_time_do_not_lose_a_key(tmp_path: Path) -> None:
    """The second is told that there is a draft already, and the first one's draft stays."""
    path = write(tmp_path / "keys", LINE)
    (tmp_path / "keys.new").write_text("somebody else's")
    with pytest.raises(FileExistsError):
        add_to_key_file(str(path), Key.generate(2))
    assert (tmp_path / "keys.new").read_text() == "somebody else's"
    assert path.read_text() == LINE


def test_a_key_that_cannot_be_added_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no draft beside it."""
    path = write(tmp_path / "keys", LINE)

    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no"):
        add_to_key_file(str(path), Key.generate(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]
    assert path.read_text() == LINE


def test_who_reads_while_a_key_is_added_reads_a_whole_file(tmp_path: Path) -> None:
    """The old one or the new one: a server that reloads never finds half a line."""
    path = write(tmp_path / "keys", LINE)
    done = threading.Event()
    counts = []

    def read() -> None:
        while not done.is_set():
            counts.append(len(load_keys(path)))

    reader = threading.Thread(target=read)
    reader.start()
    for id_ in range(2, 60):
        add_to_key_file(str(path), Key.generate(id_))
    done.set()
    reader.join()
    assert counts == sorted(counts)
    assert len(load_keys(path)) == 59


def test_the_next_id_is_above_the_others_while_there_is_one() -> None:
    """So an id that was in use yesterday is not given again before all others were."""

    def key(id_: int) -> Key:
        return Key(id_, bytes(16))

    assert free_id([]) == 1
    assert free_id([key(1), key(7), key(3)]) == 8
    assert free_id([key(255), key(1)]) == 2
    with pytest.raises(ValueError, match="expected fewer than 255 keys"):
        free_id(map(key, range(1, 256)))
