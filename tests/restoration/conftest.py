import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Every run must leave as many threads as it found, and no half-written file."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before
    assert not list(tmp_path.rglob("*.partial"))
