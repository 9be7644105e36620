"""A store for each test."""

from collections.abc import Iterator

import pytest
from stores import Store, serving


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A server with one bucket, named in this process's environment."""
    with serving(monkeypatch) as running:
        yield running
