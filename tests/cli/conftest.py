"""What the tests of the command have in common."""

from collections.abc import Iterator

import pytest

from trio_udp._cli._signals import as_they_were


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Some tests run a command's own functions in this process, which then goes on, as `main` has it do: else all
    processes that it starts later would ignore ^C."""
    with as_they_were():
        yield
