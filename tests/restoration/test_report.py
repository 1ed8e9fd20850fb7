"""The page about a run: what it says is true, and it needs nothing but itself."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fvdeblur import Deblurrer
from fvdeblur.errors import UsageError
from fvdeblur.faces import create_detector
from fvdeblur.restoration.report import Report, write_report
from fvdeblur.restoration.report_page import page


class Page(HTMLParser):
    """Elements with their attributes, the text, and whether every element is closed."""

    VOID = ("meta", "img", "input", "line", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def reported(small_model: Path, short_clip: Path, tmp_path: Path) -> tuple[Report, str]:
    deblurrer = Deblurrer(threads=1)
    summary = deblurrer.video(short_clip, tmp_path / "out.mp4")
    report = write_report(
        tmp_path / "r.html", summary, deblurrer.settings, create_detector("centerface", threads=1)
    )
    return report, (tmp_path / "r.html").read_text(encoding="utf-8")


def test_what_it_says(
    reported: tuple[Report, str], short_clip: Path, tmp_path: Path, small_model: Path
) -> None:
    report, text = reported
    shown = Page(text)
    assert "6 faces in 6 frames were deblurred, of 1 face track." in shown.words
    for path in (short_clip, tmp_path / "out.mp4"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in shown.words
    weights = (small_model / "fvd" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in shown.words
    assert "Setting strength" in shown.words
    assert "Version of torch" in shown.words
    (face,) = report.faces
    assert (face.frames, len(face.moments)) == (6, 6)
    assert [m.time for m in face.moments] == pytest.approx([k / 25 for k in range(6)])
    assert 40 < face.size < 140
    points = [each["points"] for each in shown.all("polyline")]
    assert len(points) == 2
    assert all(len(each.split()) == 6 for each in points)


def test_the_pictures_are_of_the_face_before_and_after(reported: tuple[Report, str]) -> None:
    _, text = reported
    images = Page(text).all("img")
    assert [image["alt"].split(" in the ")[1] for image in images] == ["input", "output"]
    pictures = []
    for image in images:
        kind, data = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        pictures.append(decoded.astype(int))
    assert pictures[0].shape == pictures[1].shape
    middle = slice(pictures[0].shape[0] // 4, -pictures[0].shape[0] // 4)
    assert np.abs(pictures[0] - pictures[1])[middle, middle].mean() > 1  # the small model changes every face
    assert np.abs(pictures[0] - pictures[1])[:4].mean() < 3
    assert len(create_detector("centerface", threads=1).detect(pictures[0][..., ::-1].astype(np.uint8))) == 1


def test_it_needs_nothing_else_and_can_be_used_without_a_mouse(reported: tuple[Report, str]) -> None:
    _, text = reported
    shown = Page(text)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "http://" not in text
    assert "https://" not in text
    policy = next(m["content"] for m in shown.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert shown.all("html")[0]["lang"] == "en"
    assert len(shown.all("h1")) == 1
    for slider in shown.all("input"):
        assert slider["type"] == "range"
        assert slider["aria-label"]
    for chart in shown.all("svg"):
        assert chart["role"] == "img"
        assert chart["aria-label"]
    assert "prefers-color-scheme: dark" in text


def test_names_cannot_become_markup(reported: tuple[Report, str]) -> None:
    report, _ = reported
    evil = "<script>alert(1)</script>\n&.mp4"
    summary = replace(report.summary, input=Path(evil), notes=[evil], left_alone={evil: 3})
    report.summary = summary
    text = page(report)
    assert len(Page(text).all("script")) == 1
    assert "alert(1)</script>" not in text
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;\n&amp;.mp4" in text


def test_nothing_that_is_there_is_replaced(
    small_model: Path, short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deblurrer = Deblurrer(threads=1)
    summary = deblurrer.video(short_clip, tmp_path / "out.mp4")

    def never(*_: object) -> None:
        raise AssertionError("nothing is measured before it is known that the page can be written")

    monkeypatch.setattr("fvdeblur.restoration.report.examine", never)
    (tmp_path / "mine.html").write_text("mine")
    write: Callable[[Path], Any] = lambda path: write_report(path, summary, deblurrer.settings, None)  # type: ignore[arg-type]  # noqa: E731
    with pytest.raises(UsageError, match="exists"):
        write(tmp_path / "mine.html")
    with pytest.raises(UsageError, match="is the input or the output"):
        write(short_clip)
    with pytest.raises(UsageError, match="is a folder"):
        write(tmp_path)
    assert (tmp_path / "mine.html").read_text() == "mine"
