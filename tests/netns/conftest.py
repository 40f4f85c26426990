"""Nothing here runs where no hosts can be made."""

import pytest

from .namespaces import why_not


@pytest.fixture(autouse=True)
def _hosts() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
