"""What networks are told is read off the blurred frames, and stays on its place in every patch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from face_material import panned_clip, photograph
from guide_material import GUIDED, FixedReader, PictureGuide, guide_with, slopes, write_regressor

from fvdeblur.datasets import BlurSettings
from fvdeblur.errors import InputError, UsageError
from fvdeblur.morphable import Coefficients, load_default, render
from fvdeblur.morphable.guidance import draw_prior
from fvdeblur.morphable.reader import FaceReader, Reading
from fvdeblur.networks import WindowShape, window_table
from fvdeblur.training import TrainConfig
from fvdeblur.training.guides import Guide, as_inputs, identity_signs, open_reader, pack_prior, unpack_prior
from fvdeblur.training.pool import Batch, Pool, Segments

LENGTH, SIDE = 6, 96


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    blur = BlurSettings(size=SIDE, length=LENGTH, exposure=(2.0, 3.0), strides=(1,))
    return dataclasses.replace(config, blur=blur, patch=64, batch=60, stills_share=0.0, prior_dropout=0.0)


def drawn(config: TrainConfig, step: int = 0) -> Batch:
    segments = Segments(config, [panned_clip(25, 3)], [], "cpu", PictureGuide(GUIDED))
    return Pool(segments, config, window_table(LENGTH, 5), step).batch(step)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_patch_is_told_of_its_own_place(config: TrainConfig, workers: int) -> None:
    """Cropped, mirrored or turned back in time: a face that is the picture itself lies on the picture."""
    windows, _, guides = drawn(dataclasses.replace(config, workers=workers))
    prior, identity = guides["prior"], guides["identity"]
    assert prior.shape == (60, 7, 64, 64)
    assert prior.dtype == identity.dtype == torch.float32
    centre = windows[:, 6:9]
    assert (prior[:, :3] - centre).abs().max() < 1e-6
    assert (centre - windows[:, 3:6]).abs().mean() > 0.02  # the neighbours are other pictures
    inner = (..., slice(1, -1), slice(1, -1))
    assert (prior[:, 4:6] - slopes(centre))[inner].abs().max() < 0.01
    assert slopes(centre)[inner].abs().max() > 0.2
    mirrored = prior[:, 3, 0, 0] > prior[:, 3, 0, -1]
    assert 10 < mirrored.sum() < 50
    lefts = (prior[:, 3, 0].amin(1) * 255).round()
    assert len(lefts.unique()) > 10
    told = PictureGuide.identity * torch.where(mirrored[:, None], identity_signs(), 1.0)
    assert torch.equal(identity[:, 1:], told[:, 1:])
    assert (told[mirrored] < 0).any()


def test_a_patch_is_told_of_its_central_frame(config: TrainConfig) -> None:
    _, _, guides = drawn(config)
    frames = guides["identity"][:, 0].abs() - 1
    assert set(frames.tolist()) == set(range(LENGTH))


def test_mirroring_is_that_of_the_model() -> None:
    """The signs of identity and normals are those that drawing the mirrored face gives."""
    model = load_default()
    face = FixedReader().readings(1).coefficients
    face = face._replace(pose=face.pose + torch.tensor([[0.1, 0.3, 0.1, 0.05, 0.0, 0.0]]))
    other = face._replace(
        identity=face.identity * identity_signs(),
        pose=face.pose * torch.tensor([[1.0, -1.0, -1.0, -1.0, 1.0, 1.0]]),
    )
    plain, mirrored = (render(model, each, 64) for each in (face, other))
    assert (plain.mask.flip(3) - mirrored.mask).abs().mean() < 1e-3
    sign = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    assert (plain.normals.flip(3) * sign - mirrored.normals).abs().mean() < 5e-3
    assert (plain.normals.flip(3) - mirrored.normals).abs().mean() > 0.05


def test_dropout_drops(config: TrainConfig) -> None:
    config = dataclasses.replace(config, patch=32, batch=200)
    full, some, none = (drawn(dataclasses.replace(config, prior_dropout=share)) for share in (0.0, 0.3, 1.0))
    silent, nobody = (some.guides[name].abs().flatten(1).amax(1) == 0 for name in ("prior", "identity"))
    assert float(silent.float().mean()) == pytest.approx(0.3, abs=0.1)
    assert torch.equal(silent, nobody)
    assert not none.guides["prior"].any()
    assert not none.guides["identity"].any()
    assert (full.guides["prior"].abs().amax(dim=(1, 2, 3)) > 0).all()
    for batch in (some, none):  # what is dropped changes nothing else
        assert torch.equal(full.windows, batch.windows)
        assert torch.equal(full.sharp, batch.sharp)
    assert torch.equal(full.guides["prior"][~silent], some.guides["prior"][~silent])


def test_some_windows_hold_one_photograph(config: TrainConfig) -> None:
    config = dataclasses.replace(config, patch=32, batch=200)
    segments = Segments(config, [panned_clip(25, 3)], [], "cpu", Guide(WindowShape(5, 4, True)))

    def batch(share: float) -> Batch:
        own = dataclasses.replace(config, photograph_share=share)
        return Pool(segments, own, window_table(LENGTH, 5), 0).batch(0)

    none, some = batch(0.0), batch(0.3)
    frames = some.windows.unflatten(1, (5, 3))
    alone = (frames == frames[:, 2:3]).flatten(1).all(1)
    assert float(alone.float().mean()) == pytest.approx(0.3, abs=0.1)
    assert not some.guides["flow"][alone].any()
    # Central frames, truth and all other windows are what they were.
    assert torch.equal(some.sharp, none.sharp)
    assert torch.equal(frames[:, 2], none.windows.unflatten(1, (5, 3))[:, 2])
    assert torch.equal(some.windows[~alone], none.windows[~alone])
    assert torch.equal(some.guides["flow"][~alone], none.guides["flow"][~alone])
    assert none.guides["flow"][alone].abs().amax(dim=(1, 2, 3)).min() > 0.5


def test_faces_are_read_off_the_blurred_frames(config: TrainConfig) -> None:
    reader = FixedReader()
    guide = guide_with(reader, prior_channels=7, identity_size=80)
    segment, guides = Segments(config, [panned_clip(25, 3)], [], "cpu", guide)[0]
    (shown,) = reader.shown
    assert torch.equal(shown, segment.blurred.float() / 255)
    assert (shown - segment.sharp.float() / 255).abs().mean() > 0.01
    reading = reader.readings(LENGTH)
    expected = draw_prior(reader.model, reading, SIDE, 7)
    assert guides["prior"].dtype == torch.uint8
    assert (unpack_prior(guides["prior"]) - expected).abs().max() < 0.005
    assert torch.equal(guides["identity"], reading.coefficients.identity)
    assert set(guides) == {"prior", "identity"}


def test_windows_are_told_of_their_central_frames() -> None:
    reader = FixedReader()
    guide = guide_with(reader, prior_channels=3)
    frames = torch.from_numpy(panned_clip(LENGTH, 3, size=SIDE).frames).permute(0, 3, 1, 2)
    guides = guide.of(frames, np.array([[3, 4, 5], [0, 1, 2]]))
    assert set(guides) == {"prior"}
    drawn = draw_prior(reader.model, reader.readings(LENGTH), SIDE, 3)[[4, 1]]
    assert (as_inputs(guides)["prior"] - drawn).abs().max() < 0.005
    assert (drawn[0] - drawn[1]).abs().max() > 0.1


def test_of_a_face_that_cannot_be_read_nothing_is_told() -> None:
    guide = guide_with(FixedReader(doubt=50.0), prior_channels=7, identity_size=80)
    frames = torch.from_numpy(panned_clip(LENGTH, 3, size=SIDE).frames).permute(0, 3, 1, 2)
    inputs = as_inputs(guide.of(frames, window_table(LENGTH, 3)))
    assert inputs["prior"].shape == (LENGTH, 7, SIDE, SIDE)
    assert not inputs["prior"].any()
    assert not inputs["identity"].any()


@pytest.mark.parametrize("channels", [3, 4, 7])
def test_packed_faces_come_back(channels: int) -> None:
    reader = FixedReader()
    prior = draw_prior(reader.model, reader.readings(2), 64, channels)
    again = unpack_prior(pack_prior(prior))
    assert again.shape == prior.shape
    assert (again - prior).abs().max() <= 0.5 / 127 + 1e-6
    assert not unpack_prior(pack_prior(0 * prior)).any()  # exactly zero outside of the face


def test_a_network_without_guides_reads_no_face(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> FaceReader:
        raise AssertionError("a face was read")

    monkeypatch.setattr("fvdeblur.training.guides.open_reader", fail)
    guide = Guide(WindowShape(5, 4, takes_flow=True))
    assert set(Segments(config, [panned_clip(25, 3)], [], "cpu", guide)[0].guides) == {"flow"}


def test_a_regressor_from_a_file(tmp_path: Path) -> None:
    reader = open_reader(write_regressor(tmp_path / "weights.safetensors"))
    pictures = torch.from_numpy(photograph()[20:216, 130:326]).permute(2, 0, 1)[None].float() / 255
    found = reader.follow(torch.cat([pictures, pictures.flip(3)]))
    assert isinstance(found, Reading)
    assert found.coefficients.vector().shape == (2, 239)
    assert torch.isfinite(found.coefficients.vector()).all()
    assert not torch.equal(found.coefficients.pose[0], found.coefficients.pose[1])
    again = open_reader(tmp_path / "weights.safetensors").read(pictures)
    assert torch.equal(again.coefficients.vector(), reader.read(pictures).coefficients.vector())
    assert isinstance(again.coefficients, Coefficients)


def test_a_regressor_that_cannot_be_opened(tmp_path: Path) -> None:
    for content in (None, b"no weights"):
        path = tmp_path / "weights.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.safetensors: no weights of the regressor") as caught:
            open_reader(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [{"prior_channels": 5}, {"identity_size": 81}])
def test_guides_that_there_are_none_of(shape: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(shape))} must be 0"):
        Guide(WindowShape(5, 4, takes_flow=False, **shape))
