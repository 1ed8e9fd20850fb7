"""What is worked on and where the results go."""

from pathlib import Path

import numpy as np
import pytest
from media_samples import make_video, moving_photograph
from PIL import Image

from fvdeblur.errors import UsageError
from fvdeblur.restoration import Item, default_output, find_items, find_videos


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("videos") / "clip.mp4", moving_photograph(3)).read_bytes()


@pytest.fixture
def tree(tmp_path: Path, video: bytes) -> Path:
    """Videos with and without a suffix, what lies beside them, and what this program wrote."""
    root = tmp_path / "in"
    for name in ("a.mp4", "b.MKV", "c", "a.deblurred.mp4", "a.rendered.mp4", ".hidden.mp4", "sub/a.mp4"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(video)
    (root / "notes").write_text("Notes on a clip.\n" * 100)
    (root / "notes.txt").write_text("no video")
    (root / "d.mp4.partial").mkdir()
    picture(root / "cover.png")
    (root / "out.deblurred").mkdir()
    (root / "out.deblurred" / "x.mp4").write_bytes(video)
    return root


def picture(path: Path, value: int = 90) -> Path:
    Image.fromarray(np.full((24, 32, 3), value, np.uint8)).save(path)
    return path


def sources(items: list[Item]) -> list[str]:
    return [item.source.name for item in items]


def test_videos_of_a_folder(tree: Path) -> None:
    """A file without a suffix is looked into; text, pictures, hidden files and our own outputs are none."""
    assert [path.name for path in find_videos(tree)] == ["a.mp4", "b.MKV", "c"]
    deep = find_videos(tree, recursive=True)
    assert [path.relative_to(tree).as_posix() for path in deep] == ["a.mp4", "b.MKV", "c", "sub/a.mp4"]


def test_results_lie_beside_their_inputs(tree: Path) -> None:
    items = find_items([tree])
    assert [item.target for item in items] == [
        tree / "a.deblurred.mp4",
        tree / "b.deblurred.MKV",
        tree / "c.deblurred.mkv",
    ]
    assert not any(item.in_folder for item in items)


def test_a_folder_is_mirrored_in_the_output(tree: Path, tmp_path: Path) -> None:
    items = find_items([tree], tmp_path / "out", recursive=True)
    places = [item.target.relative_to(tmp_path / "out").as_posix() for item in items]
    assert places == ["a.mp4", "b.MKV", "c.mkv", "sub/a.mp4"]
    assert all(item.in_folder for item in items)


def test_wildcards(tree: Path, tmp_path: Path) -> None:
    assert sources(find_items([f"{tree}/*.mp4"])) == ["a.mp4"]
    deep = find_items([f"{tree}/**/?.m[kp][v4]", tree / "b.MKV"])
    assert sources(deep) == ["a.mp4", "a.mp4", "b.MKV"]
    with pytest.raises(UsageError, match="matches no file"):
        find_items([f"{tree}/*.avi"])


def test_a_name_with_wildcards_in_it_is_a_name(tmp_path: Path, video: bytes) -> None:
    for name in ("[a]*.mp4", "100%d.mp4"):
        (tmp_path / name).write_bytes(video)
        assert find_items([tmp_path / name]) == [Item(tmp_path / name, default_output(tmp_path / name))]


def test_one_file_to_one_file_and_several_to_a_folder(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.mkv"
    assert find_items([tree / "a.mp4"], out) == [Item(tree / "a.mp4", out)]
    both = find_items([tree / "a.mp4", tree / "b.MKV"], tmp_path / "out")
    assert [item.target for item in both] == [tmp_path / "out" / "a.mp4", tmp_path / "out" / "b.MKV"]
    with pytest.raises(UsageError, match="not a folder"):
        find_items([tree / "a.mp4", tree / "b.MKV"], tree / "notes.txt")


def test_an_input_named_twice_is_done_once(tree: Path) -> None:
    items = find_items([tree / "a.mp4", tree, f"{tree}/a*"])
    assert sorted(sources(items)) == ["a.mp4", "b.MKV", "c"]


def test_two_results_of_one_name_are_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would both be written"):
        find_items([tree / "a.mp4", tree / "sub" / "a.mp4"], tmp_path / "out")


def test_the_content_decides_what_a_file_is(tmp_path: Path, video: bytes) -> None:
    (tmp_path / "video.png").write_bytes(video)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / "picture.mp4", format="PNG")
    kinds = {
        item.source.name: item.kind for item in find_items([tmp_path / "video.png", tmp_path / "picture.mp4"])
    }
    assert kinds == {"video.png": "video", "picture.mp4": "photograph"}


def test_photographs_of_a_folder_without_videos(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.webp", "a.deblurred.jpg"):
        picture(tmp_path / name)
    items = find_items([tmp_path])
    assert sources(items) == ["a.jpg", "b.png", "c.webp"]
    assert {item.kind for item in items} == {"photograph"}
    assert items[1].target == tmp_path / "b.deblurred.png"


def test_sequences(tmp_path: Path) -> None:
    """Ten follows nine, whether the numbers have leading zeros or not."""
    folder = tmp_path / "shot"
    folder.mkdir()
    for number in (8, 9, 10, 11):
        picture(folder / f"f{number}.png")
        picture(folder / f"g-{number:04d}.png")
    (item,) = find_items([folder / "f%d.png"])
    assert item.kind == "sequence"
    assert [path.name for path in item.pictures] == ["f8.png", "f9.png", "f10.png", "f11.png"]
    assert item.target == tmp_path / "shot.deblurred"
    (item,) = find_items([folder / "g-%04d.png"], tmp_path / "out")
    assert [path.name for path in item.pictures] == [f"g-{number:04d}.png" for number in (8, 9, 10, 11)]
    assert item.target == tmp_path / "out"
    (item,) = find_items([folder], sequence=True)
    assert [path.name for path in item.pictures[:4]] == ["f8.png", "f9.png", "f10.png", "f11.png"]
    with pytest.raises(UsageError, match="holds no pictures"):
        find_items([folder / "h%03d.png"])


def test_what_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="holds no videos and no photographs; --recursive"):
        find_items([tmp_path])
    with pytest.raises(UsageError, match="there is no such file"):
        find_items([tmp_path / "none.mp4"])
    with pytest.raises(UsageError, match="holds no pictures"):
        find_items([tmp_path], sequence=True)
