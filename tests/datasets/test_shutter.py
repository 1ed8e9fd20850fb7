"""Blur through a shutter: by the scene's motion, and by a camera of six degrees of freedom."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from face_material import panned_clip, photograph

from fvdeblur.datasets.protocols import apply
from fvdeblur.datasets.protocols.protocol import generator
from fvdeblur.datasets.protocols.shake import DEGREES, PosePath, homographies
from fvdeblur.datasets.protocols.shutter import MOST_SUB_FRAMES, Shutter, instants
from fvdeblur.evaluation import psnr

HEIGHT, WIDTH, FOCAL = 120, 150, 1.3
STEADY = {"varying_share": 0.0}


def tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def pictures(frames: torch.Tensor) -> np.ndarray:
    return frames.permute(0, 2, 3, 1).numpy()


def scene(count: int) -> np.ndarray:
    return np.stack([photograph()[40 : 40 + HEIGHT, 150 : 150 + WIDTH]] * count)


def posed(**values: float) -> np.ndarray:
    return np.array([[values.get(name, 0.0) for name in DEGREES]])


def no_flow(source: int, target: int) -> np.ndarray:
    return np.zeros((2, -(-HEIGHT // 4), -(-WIDTH // 4)), np.float16)


@pytest.mark.parametrize("light", ["gamma", "linear"])
def test_exposure_without_movement_changes_nothing(light: str) -> None:
    result = apply("exposure", tensor(scene(7)), 1, flow=no_flow, settings={"light": light})
    assert result.frames == [2, 3, 4]
    assert (result.blurred.int() - result.sharp.int()).abs().max() <= (light == "linear")


@pytest.mark.parametrize("exposure", [1.0, 2.0, 3.0])
def test_exposure_is_motion_blur_along_the_flow(exposure: float) -> None:
    """The picture moves left by 4 pixels a frame; exact flow makes a box of 4 times the exposure."""
    clip = panned_clip(9, step=4, size=96)

    def flow(source: int, target: int) -> np.ndarray:
        field = np.zeros((2, 24, 24), np.float16)
        field[0] = -4 * (target - source)
        return field

    settings = {"exposure": (exposure, exposure), "light": "gamma", **STEADY}
    result = apply("exposure", tensor(clip.frames), 0, flow=flow, settings=settings)
    length = int(4 * exposure)
    kernel = np.ones((1, length + 1))
    kernel[0, [0, -1]] = 0.5
    wide = cv2.filter2D(photograph().astype(float), -1, kernel / length)
    for index, blurred in zip(result.frames, pictures(result.blurred), strict=True):
        expected = wide[40:136, 100 + 4 * index : 196 + 4 * index]
        inside = (slice(None), slice(12, -12))
        assert psnr(blurred[inside], expected[inside]) > 42
        assert psnr(clip.frames[index][inside], expected[inside]) < 34


def test_flow_that_is_computed_comes_close_to_the_exact_one() -> None:
    clip = panned_clip(7, step=3, size=128)
    settings = {"exposure": (2.0, 2.0), "light": "gamma", **STEADY}
    result = apply("exposure", tensor(clip.frames), 0, settings=settings)
    given = apply("exposure", tensor(clip.frames), 0, settings=settings, flow=clip.flow)
    assert torch.equal(result.blurred, given.blurred)
    kernel = np.array([[0.5, 1, 1, 1, 1, 1, 0.5]]) / 6
    wide = cv2.filter2D(photograph().astype(float), -1, kernel)
    for index, blurred in zip(result.frames, pictures(result.blurred), strict=True):
        expected = wide[40:168, 100 + 3 * index : 228 + 3 * index]
        assert psnr(blurred[:, 12:-12], expected[:, 12:-12]) > 36


def test_the_shutter_stays_in_its_range() -> None:
    kinds = {"steady": 0, "varying": 0}
    sharp = []
    for seed in range(60):
        shutter = Shutter(seed, (0.5, 3.0), 0.5, 0.2)
        values = [shutter.exposure(index) for index in range(30)]
        open_for = [value for value in values if value]
        assert all(0.5 <= value <= 3.0 for value in open_for)
        assert values == [shutter.exposure(index) for index in range(30)]
        if len(set(values)) == 1:
            kinds["steady"] += 1
            assert shutter.drawn() == {"exposure": round(values[0], 4)}
        else:
            kinds["varying"] += 1
            sharp.append(values.count(0) / 30)
            assert shutter.drawn() == {"exposure": "varying"}
    assert min(kinds.values()) > 15
    assert np.mean(sharp) == pytest.approx(0.2, abs=0.06)


def test_instants_are_spread_over_the_exposure() -> None:
    for exposure, travelled in ((0.5, 2.0), (3.0, 20.0), (2.0, 500.0)):
        times = instants(7, exposure, travelled)
        assert len(times) % 2 == 1
        assert 3 <= len(times) <= MOST_SUB_FRAMES + 1
        assert times.mean() == pytest.approx(7)
        assert np.ptp(times) + np.diff(times).mean() == pytest.approx(exposure)
    assert instants(7, 0.0, 50.0).tolist() == [7]


@pytest.mark.parametrize(
    ("degree", "value"),
    [("pitch", 0.04), ("yaw", -0.05), ("roll", 0.1), ("x", 0.03), ("y", -0.02), ("z", 0.15)],
)
def test_one_degree_of_freedom_is_that_transformation(degree: str, value: float) -> None:
    """Matrices from the geometry of each movement, written down by itself; pictures from OpenCV."""
    f, cx, cy = FOCAL * WIDTH, (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    cosine, sine = np.cos(value), np.sin(value)
    tilt = np.tan(value)
    points = np.array([[10.0, 20.0], [75.0, 60.0], [140.0, 100.0], [30.0, 110.0]])
    x, y = (points[:, 0] - cx) / f, (points[:, 1] - cy) / f
    expected = {
        "pitch": (x / (cosine * (1 + y * tilt)), (y - tilt) / (1 + y * tilt)),
        "yaw": ((x + tilt) / (1 - x * tilt), y / (cosine * (1 - x * tilt))),
        "roll": (cosine * x - sine * y, sine * x + cosine * y),
        "x": (x + value, y),
        "y": (x, y + value),
        "z": (x * (1 - value), y * (1 - value)),  # nearer: the picture grows
    }[degree]
    matrix = homographies(posed(**{degree: value}), HEIGHT, WIDTH, FOCAL)[0]
    seen = np.column_stack([points, np.ones(4)]) @ matrix.T
    found = seen[:, :2] / seen[:, 2:]
    assert np.abs(found - np.stack([expected[0] * f + cx, expected[1] * f + cy], axis=1)).max() < 1e-6


@pytest.mark.parametrize("degree", DEGREES)
def test_the_camera_sees_what_opencv_sees(degree: str) -> None:
    settings = {"degrees": (degree,), "speed": (4.0, 4.0), "exposure": (2.0, 2.0), "focal": FOCAL, **STEADY}
    result = apply("shake", tensor(scene(3)), 3, settings=settings)
    path = PosePath(generator(3, "shake"), 4.0, HEIGHT, WIDTH, FOCAL, (degree,))
    poses = path.at(np.arange(3.0))
    assert [name for name, moved in zip(DEGREES, np.abs(poses).max(axis=0), strict=True) if moved] == [degree]
    cubic, linear = (cv2.WARP_INVERSE_MAP | kind for kind in (cv2.INTER_CUBIC, cv2.INTER_LINEAR))
    for index, sharp in enumerate(pictures(result.sharp)):
        matrix = path.homographies(np.array([float(index)]))[0]
        expected = cv2.warpPerspective(
            scene(1)[0], matrix, (WIDTH, HEIGHT), flags=cubic, borderMode=cv2.BORDER_REFLECT
        )
        assert psnr(sharp[4:-4, 4:-4], expected[4:-4, 4:-4]) > 48
        # the mean of what OpenCV sees at many instants of the exposure
        times = index + 2.0 * ((np.arange(41) + 0.5) / 41 - 0.5)
        light = (scene(1)[0] / 255.0).astype(np.float32) ** np.float32(2.2)
        seen = [
            cv2.warpPerspective(light, m, (WIDTH, HEIGHT), flags=linear, borderMode=cv2.BORDER_REFLECT)
            for m in path.homographies(times)
        ]
        mean = 255 * np.mean(seen, axis=0) ** (1 / 2.2)
        assert psnr(pictures(result.blurred)[index][4:-4, 4:-4], mean[4:-4, 4:-4]) > 46


def test_the_path_is_smooth_and_as_fast_as_it_should_be() -> None:
    points = np.array([[x, y, 1.0] for x in (0, 75, 149) for y in (0, 60, 119)]).T
    times = np.arange(0, 300, 0.25)
    speeds = []
    for seed in range(8):
        matrices = PosePath(np.random.default_rng(seed), 3.0, HEIGHT, WIDTH, FOCAL).homographies(times)
        seen = matrices @ points
        place = seen[:, :2] / seen[:, 2:]
        velocity = np.diff(place, axis=0) / 0.25
        speeds.append(np.sqrt((velocity**2).sum(axis=1).mean()))
        jumps = np.abs(np.diff(velocity, axis=0)).max()
        assert jumps < 3.0 * 8  # no step in the velocity
    assert np.mean(speeds) == pytest.approx(3.0, rel=0.4)


def test_blur_grows_with_exposure_and_speed() -> None:
    def quality(exposure: float, speed: float) -> float:
        settings = {"exposure": (exposure, exposure), "speed": (speed, speed), **STEADY}
        result = apply("shake", tensor(scene(2)), 5, settings=settings)
        pairs = zip(pictures(result.blurred), pictures(result.sharp), strict=True)
        return float(np.mean([psnr(a, b) for a, b in pairs]))

    for values in (
        [quality(exposure, 3.0) for exposure in (0.5, 1.0, 2.0)],
        [quality(1.0, speed) for speed in (1.0, 3.0, 9.0)],
    ):
        assert all(a > b + 1 for a, b in pairwise(values)), values


def test_the_camera_of_no_exposure_sees_sharp_frames() -> None:
    result = apply("shake", tensor(scene(3)), 5, settings={"exposure": (0.0, 0.0)})
    assert torch.equal(result.blurred, result.sharp)
    assert not torch.equal(result.sharp[0], result.sharp[2])


def test_a_moving_scene_is_blurred_by_both() -> None:
    clip = panned_clip(7, step=4, size=96)
    settings = {"exposure": (2.0, 2.0), "speed": (1e-3, 1e-3), **STEADY}
    still = apply("shake", tensor(clip.frames), 1, settings=settings)
    both = apply("shake", tensor(clip.frames), 1, settings={**settings, "moving_scene": True}, flow=clip.flow)
    alone = apply(
        "exposure", tensor(clip.frames), 0, flow=clip.flow, settings={"exposure": (2.0, 2.0), **STEADY}
    )
    assert psnr(pictures(still.blurred), pictures(still.sharp)) > 35
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert psnr(pictures(both.blurred[inner]), pictures(alone.blurred[inner])) > 38
    assert both.frames == alone.frames == [1, 2, 3, 4, 5]
