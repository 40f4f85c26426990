"""What the tests here need, and not every host allows."""

import pytest

from .namespaces import why_not


@pytest.fixture
def hosts() -> None:
    """Skip where no hosts can be made."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
