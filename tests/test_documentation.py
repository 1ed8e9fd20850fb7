"""Every code block of the README and of the documentation works as it stands, on a small clip of a real face.

Blocks marked ``console`` and ``python`` are run, page by page and in order, in a folder with ``clip.mp4``,
``photo.jpg`` and ``videos/``. Where a block cannot run in a test, a comment before it says why,
``<!-- not run: reason -->``; then, as in blocks without a mark, every command of fvdeblur in it is still parsed by the
command line's own parser.
"""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
import pytest
import skimage.data
from media_samples import make_video, moving_photograph

from fvdeblur import released
from fvdeblur.cli import commands, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODELS = released.models_folder()

FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
KINDS = {"", "console", "python", "toml", "json"}


class Block(NamedTuple):
    """A piece of code on a page."""

    kind: str
    text: str
    reason: str | None
    line: int

    def commands(self) -> Iterator[list[str]]:
        """The words of every command of fvdeblur, of the others in a pipe none."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("|") if "|" in words else len(words)
                if words[0] == "fvdeblur" or words[:1] == ["torchrun"]:
                    yield words[words.index("fvdeblur") + 1 : end]
                words = words[end + 1 :]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["kind"], found["text"], found["reason"], 1 + text.count("\n", 0, found.start("kind")))
        for found in FENCE.finditer(text)
    ]


def parse(words: list[str]) -> None:
    """Read a command line as the program does, and do nothing."""
    command: click.Command = commands
    context = click.Context(commands, info_name="fvdeblur")
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, parent=context, info_name=command.name)
    with suppress(click.exceptions.Exit):  # of an option such as --list, which says something and is all
        command.make_context(command.name, list(words), parent=context.parent)


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_every_page_is_read() -> None:
    """No block is overlooked for the way in which it is written."""
    for page in PAGES:
        found = blocks(page)
        assert 2 * len(found) == sum(line.startswith("```") for line in page.read_text().splitlines()), page
        assert {block.kind for block in found} <= KINDS, page
    count = {kind: sum(block.kind == kind for page in PAGES for block in blocks(page)) for kind in KINDS}
    assert count["console"] >= 20
    assert count["python"] >= 8


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_have_the_options_that_they_are_given(page: Path) -> None:
    for block in blocks(page):
        for words in block.commands() if block.kind in {"", "console"} else ():
            try:
                parse(words)
            except click.ClickException as error:
                pytest.fail(
                    f"{page_name(page)}:{block.line}: fvdeblur {shlex.join(words)}: {error.format_message()}"
                )


@pytest.mark.parametrize(
    "wrong",
    [
        "run clip.mp4 --no-such",
        "run",
        "run clip.mp4 --workers 0",
        "compare a.mp4 -o b.png",
        "no-such-command",
    ],
)
def test_the_parser_refuses_what_is_wrong(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        parse(wrong.split())


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: a clip, a photograph of the same person, and a folder of videos."""
    folder = tmp_path_factory.mktemp("material")
    make_video(folder / "clip.mp4", moving_photograph(6), audio=0.24)
    (folder / "videos").mkdir()
    for name in ("one", "two"):
        make_video(folder / "videos" / f"{name}.mp4", moving_photograph(3), audio=0.12)
    picture = np.ascontiguousarray(skimage.data.astronaut()[:320, 64:384, ::-1])
    cv2.imwrite(str(folder / "photo.jpg"), picture)
    return folder


@pytest.fixture
def here(material: Path, small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of it, where a reader would type; the network is small, all else is what is released."""
    models = tmp_path / "models"
    models.mkdir()
    for folder in MODELS.iterdir():
        if folder.name != "fvd" and folder.is_dir():
            (models / folder.name).symlink_to(folder)
    (models / "fvd").symlink_to(small_models / "fvd")
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: models)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "work"
    shutil.copytree(material, work)
    monkeypatch.chdir(work)
    return work


def run_console(block: Block, where: str) -> None:
    lines = [line[2:] for line in block.text.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    assert lines, f"{where}: no line begins with $"
    given = list(block.commands())
    assert len(given) == len(lines), f"{where}: what is not fvdeblur cannot be run here; say so in a comment"
    for words in given:
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0, f"{where}: fvdeblur {shlex.join(words)} ended with {end.value.code}"


def check_python(block: Block) -> None:
    """What cannot be run must at least be Python whose imports are there."""
    tree = ast.parse(block.text)
    tree.body = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
    exec(compile(tree, "page", "exec"), {})


RUN = [
    page
    for page in PAGES
    if any(block.kind in {"console", "python", "toml", "json"} for block in blocks(page))
]


@pytest.mark.parametrize("page", RUN, ids=page_name)
def test_blocks_run(page: Path, here: Path) -> None:
    for block in blocks(page):
        where = f"{page_name(page)}:{block.line}"
        if block.kind == "console" and block.reason is None:
            run_console(block, where)
        elif block.kind == "python" and block.reason is None:
            exec(compile(block.text, where, "exec"), {"__name__": "page"})
        elif block.kind == "python":
            check_python(block)
        elif block.kind == "toml":
            tomllib.loads(block.text)
            (here / "fvdeblur.toml").write_text(block.text)
            with pytest.raises(SystemExit) as end:
                main(["config", "show"])
            assert end.value.code == 0, where
        elif block.kind == "json":
            for line in block.text.splitlines():
                json.loads(line)


def test_what_the_pages_promise_is_written(here: Path) -> None:
    """The files that the page about crops names lie where it says."""
    (block,) = (each for each in blocks(ROOT / "docs/how-to/crops.md") if "like:photo.jpg" in each.text)
    run_console(block, "crops.md")
    assert (here / "her/person-01/000000.png").is_file()
    assert (here / "her/best/person-01.png").is_file()
    for name in ("contact-sheet.png", "index.csv", "index.jsonl"):
        assert (here / "her" / name).is_file()


def build(folder: Path, docs: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of other pages with the project's configuration."""
    text = (ROOT / "mkdocs.yml").read_text()
    places = {
        "docs_dir: docs": f"docs_dir: {docs}",
        "- tools/": f"- {ROOT}/tools/",
        "paths: [.]": f"paths: [{ROOT}]",
    }
    for line, other in places.items():
        assert line in text
        text = text.replace(line, other)
    (folder / "mkdocs.yml").write_text(text)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "-f",
            folder / "mkdocs.yml",
            "-d",
            folder / "site",
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """With the extra ``docs``; and a link that leads nowhere is a failure."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    done = build(tmp_path, docs)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for card in MODELS.glob("*/README.md"):
        assert (tmp_path / "site/models" / card.parent.name / "index.html").is_file()
    api = (tmp_path / "site/api/index.html").read_text()
    for name in ("video", "frames", "image", "crops", "sequence"):
        assert f"Deblurrer.{name}" in api
    assert not re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//(?!127)', api)  # nothing from other sites
    (docs / "index.md").write_text("# Start\n\n[nowhere](nowhere.md)\n")
    assert build(tmp_path, docs).returncode != 0
