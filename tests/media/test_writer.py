"""Writing a changed video with everything else of its source kept."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media_samples import add_audio, frame_times, make_video, moving_photograph, packets

from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.media import FramePlanes, VideoReader, VideoWriter, copy_streams, probe


def rewrite(
    source: Path, target: Path, *, start: float | None = None, end: float | None = None, **options: Any
) -> VideoWriter:
    """Send a video through the reader and the writer."""
    fast = options.get("codec") in {None, "h264", "hevc"} and target.suffix in {".mp4", ".mkv", ".ts", ".mov"}
    if fast and probe(source).codec in {"h264", "hevc"}:
        options.setdefault("preset", "ultrafast")
    with (
        VideoReader(source, start=start, end=end) as reader,
        VideoWriter(target, reader, **options) as writer,
    ):
        for decoded in reader:
            writer.write(decoded.frame)
        writer.finish()
    assert not list(target.parent.glob("*.partial"))
    return writer


def stream_of(path: Path, kind: str, index: int = 0) -> Any:
    return [s for s in av.open(str(path)).streams if s.type == kind][index]


def test_frames_times_and_audio_are_kept(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    writer = rewrite(clip, target)
    assert writer.notes == []
    assert frame_times(target) == frame_times(clip)
    assert len(frame_times(target)) == 25
    assert packets(target)[1] == packets(clip)[1]
    assert len(packets(target)[1]) > 40
    before, after = probe(clip), probe(target)
    assert (after.codec, after.time_base, after.duration) == ("h264", before.time_base, before.duration)
    assert after.average_rate == 25


def test_pictures_are_kept_within_the_encoders_loss(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, preset="fast")
    with VideoReader(clip) as one, VideoReader(target) as other:
        for a, b in zip(one, other, strict=True):
            error = a.frame.to_ndarray().astype(float) - b.frame.to_ndarray()
            assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


def test_changed_pixels_reach_the_file(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    with VideoReader(clip) as reader, VideoWriter(target, reader, codec="ffv1") as writer:
        for decoded in reader:
            FramePlanes(decoded.frame).add_rgb(100, 80, np.full((40, 60, 3), 0.15, np.float32))
            writer.write(decoded.frame)
        writer.finish()
    with VideoReader(clip) as one, VideoReader(target) as other:
        for a, b in zip(one, other, strict=True):
            changed = np.argwhere(a.frame.to_ndarray()[:240] != b.frame.to_ndarray()[:240])
            assert changed.min(0).tolist() == [80, 100]
            assert changed.max(0).tolist() == [119, 159]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_variable_frame_rate_is_kept_to_the_tick(tmp_path: Path, suffix: str) -> None:
    times = np.cumsum([0, *np.random.default_rng(1).integers(7, 120, 29)]).tolist()
    source = make_video(
        tmp_path / f"vfr{suffix}", moving_photograph(30), times=times, time_base=Fraction(1, 1000), audio=1.0
    )
    target = tmp_path / f"out{suffix}"
    rewrite(source, target)
    assert frame_times(source) == [Fraction(t, 1000) for t in times]
    assert frame_times(target) == frame_times(source)
    assert packets(target)[1] == packets(source)[1]


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_rotation_is_kept(tmp_path: Path, rotation: int, suffix: str) -> None:
    source = make_video(
        tmp_path / f"turned{suffix}",
        moving_photograph(3),
        prepare=lambda output, stream: stream.set_display_rotation(rotation),
    )
    rewrite(source, tmp_path / f"out{suffix}")
    copy_streams(source, tmp_path / f"copy{suffix}")
    for name in ("out", "copy"):
        info = probe(tmp_path / f"{name}{suffix}")
        assert info.display_matrix == probe(source).display_matrix
        assert info.rotation == 360 - rotation


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".mp4", "libvpx-vp9"), (".mov", "mpeg4")]
)
def test_pixel_aspect_is_kept(tmp_path: Path, suffix: str, codec: str) -> None:
    def stretch(output: Any, stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    base = Fraction(1, 25) if codec == "mpeg4" else Fraction(1, 12800)
    source = make_video(
        tmp_path / f"wide{suffix}", moving_photograph(3), codec=codec, prepare=stretch, time_base=base
    )
    rewrite(source, tmp_path / f"out{suffix}")
    copy_streams(source, tmp_path / f"copy{suffix}")
    assert probe(source).sample_aspect_ratio == Fraction(16, 11)
    assert probe(tmp_path / f"out{suffix}").sample_aspect_ratio == Fraction(16, 11)
    assert probe(tmp_path / f"copy{suffix}").sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("libx264", "yuv420p", ".mp4"),
        ("libx264", "yuvj420p", ".mp4"),
        ("libx264", "yuv422p10le", ".mkv"),
        ("libx264", "yuv444p", ".mp4"),
        ("libx264", "yuv420p10le", ".mp4"),
        ("libx265", "yuv420p10le", ".mp4"),
        ("libx265", "yuv422p12le", ".mkv"),
        ("libvpx-vp9", "yuv420p", ".webm"),
        ("libsvtav1", "yuv420p10le", ".mkv"),
        ("prores_ks", "yuv422p10le", ".mov"),
        ("ffv1", "gbrp10le", ".mkv"),
        ("ffv1", "gray10le", ".mkv"),
        ("mjpeg", "yuvj422p", ".mov"),
        ("ffv1", "yuva420p", ".mkv"),
    ],
)
def test_depth_chroma_range_and_colour_tags_are_kept(
    tmp_path: Path, codec: str, pix_fmt: str, suffix: str
) -> None:
    full = pix_fmt.startswith(("yuvj", "gray"))

    def tag(output: Any, stream: Any) -> None:
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, 16, 0 if "gbr" in pix_fmt else 9
        context.color_range = 2 if full else 1

    source = make_video(
        tmp_path / f"source{suffix}", moving_photograph(4), codec=codec, pix_fmt=pix_fmt, prepare=tag
    )
    target = tmp_path / f"out{suffix}"
    writer = rewrite(source, target)
    before, after = probe(source), probe(target)
    assert after.pix_fmt == before.pix_fmt == pix_fmt
    assert after.codec == before.codec
    for name in ("color_primaries", "color_trc", "color_space", "color_range", "bit_depth"):
        assert getattr(after, name) == getattr(before, name), name
    assert len(frame_times(target)) == 4
    assert writer.notes == []


def test_hdr10_mastering_data_are_kept(tmp_path: Path) -> None:
    text = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    source = make_video(
        tmp_path / "hdr.mp4",
        moving_photograph(3),
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": f"log-level=none:master-display={text}:max-cll=1000,400"},
    )
    rewrite(source, tmp_path / "out.mp4")
    before, after = probe(source), probe(tmp_path / "out.mp4")
    assert before.mastering_display is not None
    assert after.mastering_display == before.mastering_display
    assert after.content_light == before.content_light is not None
    assert after.codec_tag == before.codec_tag == "hev1"
    rewrite(source, tmp_path / "out.mkv")
    rewrite(tmp_path / "out.mkv", tmp_path / "again.mp4")
    assert probe(tmp_path / "again.mp4").codec_tag == "hvc1"


def rich_file(path: Path) -> Path:
    """Two sounds, a subtitle, chapters, a font, cover art and tags, in Matroska."""

    lines = path.with_name("lines.srt")

    def prepare(output: Any, stream: Any) -> Any:
        output.metadata.update(title="A title", artist="Müller")
        stream.metadata.update(title="main picture", language="eng")
        writers = [
            add_audio(output, 2.0, language="ger", title="Ton"),
            add_audio(output, 2.0, "libopus", 880, language="fra"),
        ]
        lines.write_text(
            "1\n00:00:00,100 --> 00:00:00,600\nfirst\n\n2\n00:00:01,200 --> 00:00:01,700\nsecond\n"
        )
        text = av.open(str(lines))
        subtitle = output.add_stream_from_template(text.streams[0])
        subtitle.metadata["language"] = "spa"
        subtitle.disposition = av.stream.Disposition.forced
        output.add_attachment("font.ttf", "application/x-truetype-font", b"no real font" * 50)
        output.add_attachment("cover.jpg", "image/jpeg", jpeg())
        output.set_chapters(
            [
                {
                    "id": 1,
                    "start": 0,
                    "end": 1000,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": "One"},
                },
                {
                    "id": 2,
                    "start": 1000,
                    "end": 2000,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": "Two"},
                },
            ]
        )

        def write() -> None:
            for packet in text.demux():
                if packet.size:
                    packet.stream = subtitle
                    output.mux(packet)
            text.close()
            for writer in writers:
                writer()

        return write

    return make_video(path, moving_photograph(50), prepare=prepare)


def jpeg() -> bytes:
    """A small picture as a file."""
    return cv2.imencode(".jpg", moving_photograph(1, 64, 64)[0])[1].tobytes()


def described(path: Path) -> list[tuple[str, str, dict[str, str], int]]:
    """Kind, codec, tags and disposition of every stream."""
    ignored = {"DURATION", "ENCODER", "encoder", "handler_name", "vendor_id"}
    with av.open(str(path)) as source:
        return [
            (
                s.type,
                str(getattr(s, "name", "")),
                {k: v for k, v in s.metadata.items() if k not in ignored},
                int(s.disposition),
            )
            for s in source.streams
        ]


def test_matroska_keeps_every_stream_tag_chapter_and_attachment(tmp_path: Path) -> None:
    source = rich_file(tmp_path / "rich.mkv")
    targets = [tmp_path / "out.mkv", tmp_path / "copy.mkv"]
    assert rewrite(source, targets[0]).notes == []
    assert copy_streams(source, targets[1]) == []
    assert len(described(source)) == 6
    for target in targets:
        assert described(target) == described(source)
        assert frame_times(target) == frame_times(source)
        before, after = packets(source), packets(target)
        for index in (1, 2, 3, 5):
            assert after[index] == before[index]
        with av.open(str(source)) as one, av.open(str(target)) as other:
            assert other.chapters() == one.chapters()
            assert other.metadata["title"] == "A title"
            assert other.metadata["ARTIST"] == "Müller"
            fonts = [[s.data for s in c.streams if s.type == "attachment"] for c in (one, other)]
            assert fonts[0] == fonts[1] == [b"no real font" * 50]


def test_what_the_container_cannot_hold_is_left_out_with_a_note(tmp_path: Path) -> None:
    source = rich_file(tmp_path / "rich.mkv")
    target = tmp_path / "out.mp4"
    notes = rewrite(source, target).notes
    assert [kind for kind, *_ in described(target)] == ["video", "audio", "audio", "data", "video"]
    assert len(notes) == 2
    assert any("subtitle stream 3" in note for note in notes)
    assert any("attachment stream 4" in note for note in notes)
    for index in (1, 2):
        assert [d for _, d in packets(target)[index]] == [d for _, d in packets(source)[index]]
    with av.open(str(target)) as output:
        assert [c["metadata"]["title"] for c in output.chapters()] == ["One", "Two"]
        assert bytes(next(p for p in output.demux(output.streams[4]) if p.size)) == jpeg()
    # The text track in which MP4 keeps the chapters is written anew, not copied beside it.
    again = tmp_path / "again.mp4"
    assert rewrite(target, again).notes == []
    assert copy_streams(target, tmp_path / "copy.mp4") == []
    assert [kind for kind, *_ in described(again)].count("data") == 1
    with av.open(str(again)) as output:
        assert [c["metadata"]["title"] for c in output.chapters()] == ["One", "Two"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_a_trimmed_part_begins_at_zero_with_the_sound_that_overlaps_it(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / f"clip{suffix}", moving_photograph(60), audio=2.4)
    target = tmp_path / f"out{suffix}"
    rewrite(source, target, start=0.81, end=1.63)
    times = [t - probe(source).origin for t in frame_times(source)]
    kept = [t for t in times if 0.81 <= t < 1.63]
    begin, end = kept[0], kept[-1] + Fraction(1, 25)
    kept = [t - begin for t in kept]
    shift = probe(source).origin
    got = frame_times(target)
    origin = got[0] if suffix == ".ts" else 0
    tolerance = Fraction(1, 1000)
    assert len(got) == len(kept) >= 20
    assert all(abs(a - origin - b) <= tolerance for a, b in zip(got, kept, strict=True))
    length = Fraction(1024, 44100)
    wanted = [
        (t - shift - begin, d)
        for t, d in packets(source)[1]
        if t + length - shift > begin and t - shift < end
    ]
    sound = packets(target)[1]
    if suffix != ".ts":
        assert [d for _, d in sound] == [d for _, d in wanted]
    assert len(sound) == len(wanted)
    assert all(abs(a - origin - b) <= length for (a, _), (b, _) in zip(sound, wanted, strict=True))
    assert all(abs(a - origin - b) <= tolerance for (a, _), (b, _) in zip(sound[1:], wanted[1:], strict=True))


def test_chapters_and_subtitles_follow_a_trim(tmp_path: Path) -> None:
    source = rich_file(tmp_path / "rich.mkv")
    rewrite(source, tmp_path / "out.mkv", start=0.8, end=1.6)
    with av.open(str(tmp_path / "out.mkv")) as output:
        spans = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in output.chapters()]
    assert spans == [(0, Fraction(1, 5)), (Fraction(1, 5), Fraction(4, 5))]
    assert [(t, d) for t, d in packets(tmp_path / "out.mkv")[3]] == [(Fraction(2, 5), b"second")]


@pytest.mark.parametrize(
    ("codec", "options", "written"),
    [
        ("h264", {"crf": 30, "preset": "ultrafast"}, "h264"),
        ("libx265", {"crf": 30, "preset": "ultrafast"}, "hevc"),
        ("vp9", {"crf": 40}, "vp9"),
        ("av1", {"crf": 40, "preset": "10"}, "av1"),
        ("ffv1", {}, "ffv1"),
        ("prores", {}, "prores"),
        ("mpeg4", {}, "mpeg4"),
        ("mpeg2video", {}, "mpeg2video"),
        ("mjpeg", {}, "mjpeg"),
        ("vp8", {"crf": 20}, "vp8"),
    ],
)
def test_every_codec_writes_all_frames_at_their_times(
    clip: Path, tmp_path: Path, codec: str, options: dict[str, Any], written: str
) -> None:
    target = tmp_path / "out.mkv"
    rewrite(clip, target, codec=codec, threads=2, **options)
    assert probe(target).codec == written
    assert frame_times(target) == frame_times(clip)


def test_fine_ticks_survive_encoders_that_count_frames(tmp_path: Path) -> None:
    times = [i * 3003 + (i % 3) * 7 for i in range(12)]
    source = make_video(tmp_path / "a.mp4", moving_photograph(12), times=times, time_base=Fraction(1, 90000))
    rewrite(source, tmp_path / "out.mp4", codec="mpeg4")
    assert frame_times(tmp_path / "out.mp4") == [Fraction(t, 90000) for t in times]


@pytest.mark.parametrize("suffix", [".avi", ".wmv", ".ts", ".mpg", ".3gp", ".flv", ".nut", ".m4v", ".webm"])
def test_every_suffix_gives_a_file_that_holds_all_frames(clip: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    rewrite(clip, target)
    times = frame_times(target) if suffix != ".mpg" else []
    with VideoReader(target) as reader:
        read = [f.time for f in reader]
    assert len(read) == 25
    assert np.allclose(np.diff(read), 0.04, atol=0.0015)
    assert not times or len(times) == 25


def test_options_that_do_not_fit_are_refused(clip: Path, tmp_path: Path) -> None:
    info = probe(clip)
    target = tmp_path / "out.mkv"
    for options, text in [
        ({"codec": "h265x"}, "unknown codec 'h265x'; available: h264, libx264"),
        ({"codec": "ffv1", "crf": 10}, "--crf does not apply to ffv1"),
        ({"codec": "vp9", "preset": "fast"}, "--preset fast does not apply to libvpx-vp9"),
        ({"preset": "warp"}, "--preset warp does not apply to libx264; give one of ultrafast"),
        ({"crf": 99}, "out of range"),
    ]:
        with pytest.raises(UsageError, match=text):
            VideoWriter(target, info, **options)
    with pytest.raises(UsageError, match="cannot hold h264"):
        VideoWriter(tmp_path / "out.webm", info, codec="h264")
    with pytest.raises(UsageError, match=r"no video container; use one of \.mp4"):
        VideoWriter(tmp_path / "out.xyz", info)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("libvpx-vp9", ".webm", "yuv420p"),
        ("mpeg4", ".mkv", "yuv420p"),
        ("ffv1", ".mkv", "yuv420p"),
        ("libsvtav1", ".mp4", "yuv420p"),
        ("mjpeg", ".mov", "yuvj420p"),
        ("libx264", ".mp4", "yuv444p"),
    ],
)
def test_odd_sizes_stay_as_they_are(tmp_path: Path, codec: str, suffix: str, pix_fmt: str) -> None:
    base = Fraction(1, 25)
    source = make_video(
        tmp_path / f"odd{suffix}",
        moving_photograph(4, 317, 239),
        codec=codec,
        pix_fmt=pix_fmt,
        time_base=base,
    )
    rewrite(source, tmp_path / f"out{suffix}")
    info = probe(tmp_path / f"out{suffix}")
    assert (info.width, info.height, info.pix_fmt) == (317, 239, pix_fmt)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_odd_sizes_in_h264_and_hevc_keep_the_size_with_full_chroma(tmp_path: Path, codec: str) -> None:
    source = make_video(tmp_path / "odd.mkv", moving_photograph(4, 317, 239), codec="ffv1")
    writer = rewrite(source, tmp_path / "out.mkv", codec=codec, crf=0, preset="ultrafast")
    info = probe(tmp_path / "out.mkv")
    assert (info.width, info.height, info.pix_fmt) == (317, 239, "yuv444p")
    assert "odd picture size" in writer.notes[0]
    if codec == "h264":  # CRF 0 is lossless there: the luma survives the change of chroma format
        with VideoReader(source) as one, VideoReader(tmp_path / "out.mkv") as other:
            for a, b in zip(one, other, strict=True):
                luma = [np.frombuffer(f.frame.planes[0], np.uint8).reshape(239, -1)[:, :317] for f in (a, b)]
                np.testing.assert_array_equal(*luma)


def test_an_encoder_that_keeps_the_depth_is_preferred(tmp_path: Path) -> None:
    source = make_video(tmp_path / "deep.mkv", moving_photograph(4), codec="libx265", pix_fmt="yuv420p10le")
    writer = rewrite(source, tmp_path / "out.webm")
    assert probe(tmp_path / "out.webm").bit_depth == 10
    assert writer.notes[0] == "the video is encoded as av1 instead of hevc"


def test_the_input_is_never_the_output(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    os.link(clip, tmp_path / "hard.mp4")
    os.symlink(clip, tmp_path / "soft.mp4")
    for name in ("clip.mp4", "hard.mp4", "soft.mp4", "../" + tmp_path.name + "/clip.mp4"):
        with pytest.raises(UsageError, match="replace the input"):
            VideoWriter(tmp_path / name, probe(clip), overwrite=True)
        with pytest.raises(UsageError, match="replace the input"):
            copy_streams(clip, tmp_path / name, overwrite=True)
    os.rename(clip, tmp_path / "new.mp4.partial")
    with pytest.raises(UsageError, match="replace the input"):
        VideoWriter(tmp_path / "new.mp4", probe(tmp_path / "new.mp4.partial"))
    assert (tmp_path / "new.mp4.partial").read_bytes() == data


def test_an_existing_file_is_replaced_only_on_request(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("precious")
    with pytest.raises(UsageError, match="exists; use --overwrite or -o"):
        VideoWriter(target, probe(clip))
    with pytest.raises(UsageError, match="exists; use --overwrite or -o"):
        copy_streams(clip, target)
    assert target.read_text() == "precious"
    rewrite(clip, target, overwrite=True)
    assert probe(target).frames == 25


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_nothing(clip: Path, tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.mp4"

    def interrupted() -> None:
        with VideoReader(clip) as reader, VideoWriter(target, reader) as writer:
            for decoded in reader:
                writer.write(decoded.frame)
                assert (tmp_path / "out.mp4.partial").exists()
                assert not target.exists()
                if decoded.index == 12:
                    raise error

    with pytest.raises(error):
        interrupted()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


def test_leaving_without_finish_keeps_nothing_and_an_empty_video_is_refused(
    clip: Path, tmp_path: Path
) -> None:
    with VideoReader(clip) as reader, VideoWriter(tmp_path / "out.mp4", reader) as writer:
        for decoded in reader:
            writer.write(decoded.frame)
    with (
        pytest.raises(OutputError, match="no frames"),
        VideoWriter(tmp_path / "out.mp4", probe(clip)) as writer,
    ):
        writer.finish()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond a size, as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99, 0.9999])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    clip: Path, tmp_path: Path, suffix: str, share: float
) -> None:
    good = tmp_path / f"good{suffix}"
    rewrite(clip, good)
    target = tmp_path / f"out{suffix}"
    for work in (lambda: rewrite(clip, target), lambda: copy_streams(clip, target)):
        if work.__code__.co_names[0] == "copy_streams":
            copy_streams(clip, good, overwrite=True)
        with largest_file(int(good.stat().st_size * share)), pytest.raises(OutputError) as caught:
            work()
        assert "\n" not in str(caught.value)
        assert f"out{suffix}" in str(caught.value)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["clip.mp4", good.name])


def test_folders_that_cannot_be_written(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, text in [
        (tmp_path / "missing" / "out.mp4", "create the folder first"),
        (clip / "out.mp4", "part of the path is a file"),
        (tmp_path / ("x" * 300 + ".mp4"), "name is too long"),
    ]:
        with pytest.raises(OutputError, match=text):
            VideoWriter(target, probe(clip))
        with pytest.raises(OutputError, match=text):
            copy_streams(clip, target)

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OutputError, match="permission denied"):
        VideoWriter(tmp_path / "out.mp4", probe(clip))


@pytest.mark.parametrize(
    "name", ["new\nline 'x' \"y\" müller 脸.mp4", "-o.mp4", "frame%03d.mp4", "http:x.mp4"]
)
def test_hostile_output_names(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    rewrite(clip, Path(name))
    assert probe(name).frames == 25
    copy_streams(name, Path("again " + name.replace(":", "")))
    assert packets(tmp_path / name)[1] == packets(clip)[1]


def test_copying_keeps_every_packet(clip: Path, tmp_path: Path) -> None:
    assert copy_streams(clip, tmp_path / "copy.mp4") == []
    assert packets(tmp_path / "copy.mp4") == packets(clip)
    assert frame_times(tmp_path / "copy.mp4") == frame_times(clip)
    clip.write_bytes(clip.read_bytes()[:9000])
    with pytest.raises(InputError, match="cut off"):
        copy_streams(clip, tmp_path / "other.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "copy.mp4"]


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_a_timecode_track_is_kept(tmp_path: Path, suffix: str) -> None:
    source = make_video(
        tmp_path / f"tc{suffix}",
        moving_photograph(5),
        prepare=lambda output, stream: stream.metadata.update(timecode="01:00:00:10"),
    )
    assert rewrite(source, tmp_path / f"out{suffix}").notes == []
    assert copy_streams(source, tmp_path / f"copy{suffix}") == []
    assert packets(tmp_path / f"copy{suffix}")[0] == packets(source)[0]
    for path in (source, tmp_path / f"out{suffix}", tmp_path / f"copy{suffix}"):
        tracks = [tags["timecode"] for kind, _, tags, _ in described(path) if kind == "data"]
        assert tracks == ["01:00:00:10"]


def test_sound_of_a_transport_stream_moves_to_mp4(tmp_path: Path) -> None:
    source = make_video(tmp_path / "clip.ts", moving_photograph(25), audio=1.0)
    rewrite(source, tmp_path / "out.mp4")
    copy_streams(source, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "out.mp4")) as output:
        assert sum(frame.samples for frame in output.decode(audio=0)) >= 44100
    difference = [a - b for a, b in zip(frame_times(source), frame_times(tmp_path / "out.mp4"), strict=True)]
    assert max(difference) == min(difference) == 0
