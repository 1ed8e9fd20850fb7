"""Reading material, its split by identity, and optical flow between frames."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from face_material import moving_frames, panned_clip, photograph, write_material

from fvdeblur.datasets import Clip, clips, is_validation, load_clips, load_pictures, load_stills
from fvdeblur.errors import InputError, UsageError


@pytest.fixture(scope="module")
def shared_material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Material that a test may spoil."""
    return write_material(tmp_path / "material", frames=4)


def test_the_split_is_crc_32_modulo_8() -> None:
    names = [f"person{i}" for i in range(400)] + ["", "Zoë", "名前"]
    chosen = [name for name in names if is_validation(name)]
    assert chosen == [name for name in names if zlib.crc32(name.encode("utf-8")) % 8 == 0]
    assert 25 <= len(chosen) <= 75
    # published: CRC-32 of "123456789" is 0xCBF43926 (6 modulo 8), of nothing 0
    assert not is_validation("123456789")
    assert is_validation("")


def test_splits_are_disjoint_and_whole(shared_material: Path) -> None:
    for load in (load_clips, load_stills):
        parts = {split: load(shared_material, split) for split in ("train", "validation", "all")}
        train = {clip.identity for clip in parts["train"]}
        validation = {clip.identity for clip in parts["validation"]}
        assert len(parts["train"]) == 2
        assert len(parts["validation"]) == 1
        assert not train & validation
        assert train | validation == {clip.identity for clip in parts["all"]}
        assert all(is_validation(name) for name in validation)
        assert not any(is_validation(name) for name in train)


def test_clips_hold_the_pixels_that_were_written(shared_material: Path) -> None:
    clips = load_clips(shared_material, "all")
    assert [clip.name for clip in clips] == ["clip0.mp4", "clip1.mp4", "clip2.mp4"]
    for i, clip in enumerate(clips):
        assert clip.frames.shape == (24, 96, 96, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.fps == 25
        assert not clip.is_still
        written = moving_frames(24, step=(i - 1, 1 + i % 2))
        assert (
            np.abs(clip.frames.astype(int) - written).mean() < 4
        )  # 4:2:0 and a fine quantiser; R'G'B' not B'G'R'


def test_the_number_of_frames_can_be_limited(shared_material: Path) -> None:
    assert [len(clip.frames) for clip in load_clips(shared_material, "all", limit=5)] == [5, 5, 5]


def test_stills_are_clips_of_one_frame(shared_material: Path) -> None:
    stills = load_stills(shared_material, "all")
    assert all(still.is_still and len(still.frames) == 1 and still.fps == 0 for still in stills)
    assert stills[0].frames.shape == (1, 196, 196, 3)
    assert np.array_equal(stills[0].frames[0], photograph()[20:216, 130:326])


def test_pictures_of_a_folder_are_people_of_their_own(tmp_path: Path) -> None:
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), photograph()[number : number + 40, :40, ::-1])
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = load_pictures(tmp_path, "all")
    assert [picture.identity for picture in pictures] == [f"{number:02}.png" for number in range(40)]
    assert np.array_equal(pictures[5].frames[0], photograph()[5:45, :40])
    assert all(picture.is_still for picture in pictures)
    parts = [load_pictures(tmp_path, split) for split in ("train", "validation")]
    assert sorted(picture.name for part in parts for picture in part) == [p.name for p in pictures]
    assert parts[1]
    assert all(is_validation(picture.name) for picture in parts[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no pictures"):
        load_pictures(tmp_path / "empty")


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    for load, name in ((load_clips, "clips.tsv"), (load_stills, "portraits.tsv")):
        with pytest.raises(UsageError, match=rf"{name}: the index .*No such file"):
            load(tmp_path)


def test_an_unknown_split(material: Path) -> None:
    with pytest.raises(UsageError, match="unknown split 'test'"):
        load_clips(material, "test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name\twho\nclip0.mp4\tx\n", "row 2 has no value in the column 'file'"),
        ("file\tidentity\tfps\nclip0.mp4\tx\t25\nclip1.mp4\ty\n", "row 3 has no value in the column 'fps'"),
        ("file\tidentity\tfps\nclip0.mp4\tx\tmany\n", "'many' is not a number"),
        ("file\tidentity\tfps\nclip0.mp4\t\udcff\t25\n", "not a table of text"),
    ],
)
def test_a_spoilt_index(material: Path, text: str, expected: str) -> None:
    (material / "clips.tsv").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UsageError, match=expected) as caught:
        load_clips(material, "all")
    assert "clips.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"this is no video\n" * 50, b"", None])
def test_a_broken_clip_is_named(material: Path, content: bytes | None) -> None:
    path = material / "clips" / "clip1.mp4"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"clip1\.mp4: no frame could be read"):
        load_clips(material, "all")


def test_a_broken_portrait_is_named(material: Path) -> None:
    name = (material / "portraits.tsv").read_text().split()[1]
    (material / "portraits" / name).write_bytes(b"\x89PNG but no more")
    with pytest.raises(InputError, match=f"{name}: the picture cannot be read"):
        load_stills(material, "all")


def test_flow_finds_the_motion_and_is_kept() -> None:
    clip = panned_clip(3, step=4)
    flow = clip.flow(0, 1)
    assert flow.shape == (2, 40, 40)
    assert flow.dtype == np.float16
    inside = flow[:, 5:-5, 5:-5].astype(float)
    assert np.median(inside[0]) == pytest.approx(-4, abs=0.3)
    assert np.median(inside[1]) == pytest.approx(0, abs=0.2)
    assert np.mean(np.hypot(inside[0] + 4, inside[1]) < 1) > 0.85
    assert clip.flow(0, 1) is flow
    assert np.median(clip.flow(1, 0)[0]) == pytest.approx(4, abs=0.3)


def test_flow_ahead_covers_all_strides_both_ways() -> None:
    clip = panned_clip(4, step=2, size=64)
    clip.compute_flow([1, 2], threads=2)
    ahead = {(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)}
    assert set(clip._flow) == ahead | {(b, a) for a, b in ahead}


def test_flow_of_odd_sizes_in_pixels_of_the_frames() -> None:
    photograph = panned_clip(1, step=0, size=301).frames[0]
    clip = Clip("a", "a", np.stack([photograph[:250, :280], photograph[6:256, 9:289]]), 25.0)
    flow = clip.flow(0, 1).astype(float)
    assert flow.shape == (2, 63, 70)
    assert np.median(flow[0]) == pytest.approx(-9, abs=0.6)
    assert np.median(flow[1]) == pytest.approx(-6, abs=0.6)


def test_what_opencv_cannot_read_is_given_to_decord(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next((material / "clips").glob("*.mp4"))
    ours = clips.read_frames(path, limit=3)
    monkeypatch.setattr("fvdeblur.datasets.clips.cv2.VideoCapture.read", lambda self: (False, None))
    theirs = clips.read_frames(path, limit=3)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 2
