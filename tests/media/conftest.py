"""Fixtures of the media tests."""

from pathlib import Path

import pytest
from media_samples import make_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """One second of 320x240 H.264 at 25 frames a second with AAC sound, in MP4."""
    return make_video(tmp_path / "clip.mp4", audio=1.0)
