"""Tracking on real pixels: no lag, less jitter, steady identities, bounded delay."""

import cv2
import numpy as np
import pytest

from fvdeblur.faces import FaceTracker

FACE = np.array([181.5, 58.2, 269.9, 177.8])  # of the astronaut, as CenterFace sees it
SCALE = 2.0


def centre_of(box):
    return (np.asarray(box, np.float64)[:2] + np.asarray(box, np.float64)[2:]) / 2


def size_of(box):
    return np.asarray(box, np.float64)[2:] - np.asarray(box, np.float64)[:2]


def centre_errors(frames, boxes):
    """Reported minus true centre of the only face [frames, 2], in preview pixels."""
    return np.array(
        [
            centre_of(frame.faces[0].box) / SCALE - centre_of(box)
            for frame, box in zip(frames, boxes, strict=True)
        ]
    )


def run(tracker, previews, scripted=None):
    """Push everything; check that every frame comes out once, in order, within the promised delay."""
    frames = []
    for index, preview in enumerate(previews):
        if scripted is not None:
            scripted.frame = index
        frames += tracker.push(preview, SCALE)
        assert index - len(frames) < tracker.lookahead
    frames += tracker.flush()
    assert [frame.index for frame in frames] == list(range(len(previews)))
    return frames


def camera_path(render, image, centres, zoom=1.0, shutter=0.0):
    """Previews of a moving camera, and the astronaut's true box in each."""
    centres = np.asarray(centres, np.float64)
    velocity = np.gradient(centres, axis=0) if len(centres) > 1 else np.zeros_like(centres)
    previews = [
        render(image, tuple(centre), zoom, motion=tuple(shutter * zoom * step))
        for centre, step in zip(centres, velocity, strict=True)
    ]
    boxes = [(FACE - np.tile(centre, 2)) * zoom + [320, 180, 320, 180] for centre in centres]
    return previews, boxes


def paths(count):
    time = np.arange(count)
    still = np.tile([225.0, 150.0], (count, 1))
    return {
        "linear": still + np.stack([4.0 * (time - count / 2), 1.0 * (time - count / 2)], axis=1),
        "sinusoidal": still
        + np.stack([60 * np.sin(time * 2 * np.pi / 25), 25 * np.sin(time * 2 * np.pi / 16)], axis=1),
    }


@pytest.mark.parametrize("kind", ["linear", "sinusoidal"])
@pytest.mark.parametrize("shutter", [0.0, 1.0])
def test_a_moving_face_has_no_lag(kind, shutter, astronaut, render, scripted):
    previews, boxes = camera_path(render, astronaut, paths(64)[kind], shutter=shutter)
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.5, (64, 4))
    detector = scripted([[(box + shake, 0.9)] for box, shake in zip(boxes, noise, strict=True)])
    frames = run(FaceTracker(detector), previews, detector)

    assert all(len(frame.faces) == 1 for frame in frames)
    assert len({frame.faces[0].track for frame in frames}) == 1
    error = np.array(
        [centre_of(f.faces[0].box) / SCALE - centre_of(b) for f, b in zip(frames, boxes, strict=True)]
    )
    speed = np.gradient(np.array([centre_of(box) for box in boxes]), axis=0)
    lag = -(error * speed).sum() / (speed**2).sum()  # in frames
    assert abs(lag) < 0.05
    assert np.abs(error.mean(axis=0)).max() < 0.25
    assert np.sqrt((error**2).mean()) < 0.4


def test_a_still_face_becomes_steady(astronaut, render, scripted):
    previews, boxes = camera_path(render, astronaut, [[225.0, 150.0]])
    ratios = []
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 3.0, (100, 4))
        detector = scripted([[(boxes[0] + shake, 0.9)] for shake in noise])
        frames = run(FaceTracker(detector), previews * 100, detector)
        assert detector.calls == list(range(0, 100, 4))
        steady = [frame.faces[0].box / SCALE for frame in frames]
        assert np.abs(np.mean(steady, axis=0) - boxes[0]).max() < 1.5
        for measure in (centre_of, size_of):
            before = np.std([measure(boxes[0] + shake) for shake in noise], axis=0)
            ratios.append(np.std([measure(box) for box in steady], axis=0) / before)
    assert np.sqrt(np.mean(np.square(ratios))) < 0.45
    assert np.max(ratios) < 0.65


def test_a_growing_face(astronaut, render, scripted):
    """One percent a frame, to the very ends of the clip."""
    zooms = 1.01 ** np.arange(-30, 30)
    previews = [render(astronaut, (225.0, 118.0), zoom) for zoom in zooms]
    boxes = [(FACE - [225, 118, 225, 118]) * zoom + [320, 180, 320, 180] for zoom in zooms]
    detector = scripted([[(box, 0.9)] for box in boxes])
    frames = run(FaceTracker(detector), previews, detector)
    ratio = np.array(
        [size_of(f.faces[0].box) / SCALE / size_of(b) for f, b in zip(frames, boxes, strict=True)]
    )
    assert np.abs(ratio[14:-14] - 1).max() < 0.01
    assert np.abs(ratio - 1).max() < 0.04
    assert np.linalg.norm(centre_errors(frames, boxes), axis=1).max() < 1


def test_six_faces_keep_their_tracks(crowd, render, detector):
    """The camera sweeps over the whole group and back."""
    time = np.arange(40)
    centres = np.stack([640 - 150 * np.sin(time * 2 * np.pi / 40), 443 + 30 * np.sin(time / 5)], axis=1)
    frames = run(FaceTracker(detector), [render(crowd, tuple(centre), 0.4) for centre in centres])
    assert all(len(frame.faces) == 6 for frame in frames)
    assert {face.track for frame in frames for face in frame.faces} == set(range(6))
    # Seen from the photograph, no face moves.
    for track in range(6):
        boxes = np.array([next(f.box for f in frame.faces if f.track == track) for frame in frames])
        fixed = (boxes / SCALE - [320, 180, 320, 180]) / 0.4 + np.tile(centres, 2)
        assert np.ptp(fixed, axis=0).max() < 10


def cut_out(image, box):
    """A face's pixels, an elliptic mask 0..1, and the box within this patch."""
    x0, y0, x1, y1 = np.round(box).astype(int)
    patch = image[y0 - 12 : y1 + 12, x0 - 12 : x1 + 12].astype(np.float32)
    rows, columns = np.mgrid[-1 : 1 : patch.shape[0] * 1j, -1 : 1 : patch.shape[1] * 1j]
    return patch, np.clip((1.0 - np.hypot(rows, columns)) * 8, 0, 1)[..., None].astype(np.float32)


def reduced(cut, factor):
    patch, mask = (cv2.resize(part, None, fx=factor, fy=factor) for part in cut)
    return patch, mask.reshape(*patch.shape[:2], 1)


def paste(scene, cut, centre):
    patch, mask = cut
    x, y = round(float(centre[0]) - patch.shape[1] / 2), round(float(centre[1]) - patch.shape[0] / 2)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + patch.shape[1], scene.shape[1]), min(y + patch.shape[0], scene.shape[0])
    if x1 > x0 and y1 > y0:
        inner = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
        region = scene[y0:y1, x0:x1]
        scene[y0:y1, x0:x1] = (region * (1 - mask[inner]) + patch[inner] * mask[inner]).astype(np.uint8)


@pytest.fixture(scope="module")
def cuts_of_crowd(crowd, detector):
    """The six faces as cut-outs, from left to right."""
    boxes = sorted((found.box for found in detector.detect(crowd)), key=lambda box: float(box[0]))
    return [cut_out(crowd, box) for box in boxes]


@pytest.fixture(scope="module")
def background(photographs, render):
    return render(photographs["coffee"], (300.0, 200.0), 1.2)


def nearest(frame, centre):
    """The reported face nearest to a preview position, and its distance in preview pixels."""
    distances = [np.linalg.norm(centre_of(face.box) / SCALE - centre) for face in frame.faces]
    best = int(np.argmin(distances))
    return frame.faces[best], distances[best]


def test_crossing_faces_keep_their_tracks(cuts_of_crowd, background, detector):
    """Three pairs of faces pass each other, one hidden behind the other in the middle."""
    time = np.arange(50)
    ways = []
    for row in range(3):
        y = 65 + 115 * row
        ways += [(100 + 8.0 * time, y + 0 * time), (500 - 8.0 * time, y + 4 + 0 * time)]
    previews = []
    for index in time:
        scene = background.copy()
        for cut, way in zip(cuts_of_crowd, ways, strict=True):
            paste(scene, cut, (way[0][index], way[1][index]))
        previews.append(scene)
    frames = run(FaceTracker(detector), previews)

    for way in ways:
        first, off = nearest(frames[2], (way[0][2], way[1][2]))
        assert off < 12
        last, off = nearest(frames[47], (way[0][47], way[1][47]))
        assert off < 12
        assert first.track == last.track
    assert {face.track for frame in frames for face in frame.faces} == set(range(6))
    assert len(frames[25].faces) == 3  # the hidden ones are not reported there


def test_faces_that_meet_and_turn_back_keep_their_tracks(cuts_of_crowd, background, detector):
    """Going on as before would exchange them."""
    time = np.arange(50)
    distance = np.abs(time - 25) * 8.0
    previews = []
    for index in time:
        scene = background.copy()
        for row in range(3):
            paste(scene, cuts_of_crowd[2 * row], (320 - distance[index], 65 + 115 * row))
            paste(scene, cuts_of_crowd[2 * row + 1], (320 + distance[index], 67 + 115 * row))
        previews.append(scene)
    frames = run(FaceTracker(detector), previews)
    for row in range(3):
        for side in (-1, 1):
            before, off = nearest(frames[2], (320 + side * distance[2], 66 + 115 * row))
            assert off < 12
            after, off = nearest(frames[47], (320 + side * distance[47], 66 + 115 * row))
            assert off < 12
            assert before.track == after.track


@pytest.mark.parametrize("speed", [2, 3])
def test_faces_that_cross_slowly_keep_their_tracks(speed, cuts_of_crowd, background, detector):
    """One is hidden for 14 frames and more, and before that the other's edge is taken for its own."""
    time = np.arange(200 // speed)
    previews = []
    for index in time:
        scene = background.copy()
        paste(scene, cuts_of_crowd[3], (420 - speed * index, 184))
        paste(scene, cuts_of_crowd[0], (220 + speed * index, 180))
        previews.append(scene)
    frames = run(FaceTracker(detector), previews)
    for start, step in ((420, -speed), (220, speed)):
        before, off = nearest(frames[2], (start + 2 * step, 182))
        assert off < 12
        after, off = nearest(frames[-3], (start + (len(time) - 3) * step, 182))
        assert off < 16
        assert before.track == after.track
    assert {face.track for frame in frames for face in frame.faces} == {0, 1}


def test_a_face_that_is_hidden_for_a_second_keeps_its_track(cuts_of_crowd, background, detector):
    """It goes on behind something for 30 frames; another face stays beside it."""
    previews = []
    for index in range(50):
        scene = background.copy()
        paste(scene, cuts_of_crowd[3], (480, 180))
        if not 10 <= index < 40:
            paste(scene, cuts_of_crowd[0], (200 + index, 180))
        previews.append(scene)
    frames = run(FaceTracker(detector), previews)
    one, other = (nearest(frames[2], (x, 180))[0].track for x in (202, 480))
    assert [{face.track for face in frame.faces} for frame in frames] == [
        {other} if 10 <= index < 40 else {one, other} for index in range(50)
    ]


def test_a_face_that_turns_behind_a_pillar(cuts_of_crowd, background, scripted):
    """It goes in one way and comes out another, after 8 frames without a detection or its pixels."""
    time = np.arange(40)
    centres = np.stack([250.0 + 5 * np.minimum(time, 17), 250.0 - 5 * np.maximum(time - 17, 0)], axis=1)
    reach = np.array([-50, -62, 50, 62])
    boxes = [np.tile(centre, 2) + reach for centre in centres]
    hidden = range(14, 22)
    previews = []
    for index in time:
        scene = background.copy()
        if index not in hidden:
            paste(scene, cuts_of_crowd[0], centres[index])
        previews.append(scene)
    detector = scripted([[] if index in hidden else [(box, 0.9)] for index, box in enumerate(boxes)])
    frames = run(FaceTracker(detector), previews, detector)
    assert [[face.track for face in frame.faces] for frame in frames] == [[0]] * 40
    error = np.linalg.norm(centre_errors(frames, boxes), axis=1)
    assert error[:14].max() < 3
    assert np.delete(error, hidden).max() < 2
    assert error.max() < 18  # a straight line cuts the corner


def test_a_face_that_leaves_ends_its_track(cuts_of_crowd, background, detector):
    previews = []
    for index in range(50):
        scene = background.copy()
        paste(scene, cuts_of_crowd[0], (520 + 6 * index, 180))
        paste(scene, cuts_of_crowd[3], (200, 180))
        previews.append(scene)
    frames = run(FaceTracker(detector), previews)
    stays, leaves = (nearest(frames[0], centre)[0].track for centre in ((200, 180), (520, 180)))
    seen = {
        track: [f.index for f in frames if track in [face.track for face in f.faces]]
        for track in (stays, leaves)
    }
    assert seen[stays] == list(range(50))
    assert seen[leaves] == list(range(len(seen[leaves])))
    gone = (640 + 62 - 520) / 6  # the patch is 124 px wide
    assert 10 <= len(seen[leaves]) <= gone


def test_a_face_that_enters_is_reported_from_its_first_frame(cuts_of_crowd, background, detector):
    previews = []
    for index in range(24):
        scene = background.copy()
        if index >= 6:  # between two detections
            paste(scene, cuts_of_crowd[0], (300 + 3 * index, 180))
        previews.append(scene)
    frames = run(FaceTracker(detector), previews)
    assert [len(frame.faces) for frame in frames] == [0] * 6 + [1] * 18


@pytest.mark.parametrize(("size", "first"), [(1.0, 17), (0.3, 14)])
def test_a_face_that_comes_after_a_while_is_reported_from_its_first_frame(
    size, first, cuts_of_crowd, background, detector
):
    """The small one is not to be seen in halved previews."""
    previews = []
    for index in range(34):
        scene = background.copy()
        if index >= first:
            paste(scene, reduced(cuts_of_crowd[0], size), (300 + 3 * index, 180))
        previews.append(scene)
    assert bool(detector.detect(previews[-1][::2, ::2])) == (size == 1)
    frames = run(FaceTracker(detector), previews)
    assert [len(frame.faces) for frame in frames] == [0] * first + [1] * (34 - first)


def test_where_nobody_is_the_detector_is_asked_rarely(background, scripted):
    sizes = []

    class Looking(scripted):
        def detect(self, image):
            sizes.append(image.shape[:2])
            return super().detect(image)

    detector = Looking([[]] * 36)
    frames = run(FaceTracker(detector), [np.roll(background, 3 * i, 1) for i in range(36)], detector)
    assert not any(frame.faces for frame in frames)
    whole, halved = (360, 640), (180, 320)
    between = [halved, halved, whole]
    assert sizes == [
        whole,
        *between,
        *between,
        halved,
        halved,
        whole,
        whole,
    ]  # at the end, as the others were
    assert detector.calls == [0, 4, 8, 12, 16, 20, 24, 28, 32, 35, 35]


def test_where_nothing_stirs_the_detector_is_hardly_asked(background, scripted):
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(background + rng.normal(0, 6, background.shape), 0, 255).astype(np.uint8) for _ in range(120)
    ]
    detector = scripted([[]] * 120)
    frames = run(FaceTracker(detector), noisy, detector)
    assert not any(frame.faces for frame in frames)
    # The last frames are searched at the end; before, the whole picture after LONGEST_STILL frames.
    assert [call for call in detector.calls if call < 119] == [0, 96]


def test_slow_changes_add_up(background, scripted):
    """Each frame differs little from the one before, but soon much from the one that was searched."""
    detector = scripted([[]] * 80)
    run(
        FaceTracker(detector),
        [cv2.convertScaleAbs(background, alpha=1 + 0.004 * i) for i in range(80)],
        detector,
    )
    asked = [call for call in detector.calls if call < 79]
    assert len(asked) > 6
    assert max(np.diff(asked)) < 40


def test_a_small_face_that_comes_into_a_still_picture(cuts_of_crowd, background, detector):
    previews = [background.copy() for _ in range(60)]
    for scene in previews[41:]:
        paste(scene, reduced(cuts_of_crowd[0], 0.4), (300, 180))
    frames = run(FaceTracker(detector), previews)
    assert [len(frame.faces) for frame in frames] == [0] * 41 + [1] * 19


def test_a_face_just_before_a_cut(cuts_of_crowd, background, photographs, render, detector):
    previews = [background.copy() for _ in range(20)] + [render(photographs["coffee"], (150.0, 100.0), 3.0)]
    for scene in previews[15:20]:
        paste(scene, reduced(cuts_of_crowd[0], 0.35), (300, 180))
    frames = run(FaceTracker(detector), previews)
    assert [frame.starts_shot for frame in frames] == [True] + [False] * 19 + [True]
    assert [len(frame.faces) for frame in frames] == [0] * 15 + [1] * 5 + [0]


def test_tracks_end_at_cuts(photographs, render, detector):
    shots = [("astronaut", (225, 150), 9), ("crowd", (520, 330), 7), ("astronaut", (225, 150), 6)]
    previews = [
        render(photographs[name], (x + i, y), 1.0) for name, (x, y), count in shots for i in range(count)
    ]
    frames = run(FaceTracker(detector), previews)
    assert [frame.shot for frame in frames] == [0] * 9 + [1] * 7 + [2] * 6
    assert [frame.index for frame in frames if frame.starts_shot] == [0, 9, 16]
    assert all(frame.faces for frame in frames)
    tracks = [
        {face.track for frame in frames if frame.shot == shot for face in frame.faces} for shot in range(3)
    ]
    assert len(tracks[0]) == len(tracks[2]) == 1
    assert not tracks[0] & tracks[1]
    assert not (tracks[0] | tracks[1]) & tracks[2]


def test_pushing_goes_on_in_a_new_shot_after_flush(astronaut, render, detector):
    preview = render(astronaut, (225, 150))
    tracker = FaceTracker(detector)
    first = [frame for _ in range(3) for frame in tracker.push(preview, 1.0)] + tracker.flush()
    second = [frame for _ in range(2) for frame in tracker.push(preview, 1.0)] + tracker.flush()
    assert [(frame.index, frame.shot) for frame in first + second] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]
    assert first[0].faces[0].track != second[0].faces[0].track
    assert tracker.flush() == []


def test_uncertain_detections(astronaut, render, scripted):
    """Never certain: dropped. Seen once and never again: dropped. Uncertain at first: kept from the start."""
    previews, boxes = camera_path(render, astronaut, np.tile([225.0, 150.0], (40, 1)))
    never, once = np.array([20, 20, 80, 90]), np.array([500, 200, 580, 300])
    script = [
        [(never, 0.45), (boxes[index], 0.4 if index < 8 else 0.9)] + ([(once, 0.6)] if index == 8 else [])
        for index in range(40)
    ]
    detector = scripted(script)
    frames = run(FaceTracker(detector), previews, detector)
    assert [len(frame.faces) for frame in frames] == [1] * 40
    assert np.linalg.norm(centre_errors(frames, boxes), axis=1).max() < 2


def test_a_face_that_the_detector_loses_is_followed(astronaut, render, scripted):
    """The detector is blind for 20 frames, longer than the look-ahead, while the face is there and moves."""
    previews, boxes = camera_path(render, astronaut, paths(60)["sinusoidal"])
    detector = scripted([[] if 20 <= index < 40 else [(box, 0.9)] for index, box in enumerate(boxes)])
    frames = run(FaceTracker(detector), previews, detector)
    assert [len(frame.faces) for frame in frames] == [1] * 60
    assert {frame.faces[0].track for frame in frames} == {0}
    assert np.linalg.norm(centre_errors(frames, boxes), axis=1).max() < 2
    lost = [call for call in detector.calls if 20 <= call < 40]
    assert len(lost) >= 9  # asked every second frame


def test_a_face_that_is_covered_is_not_reported_for_ever(cuts_of_crowd, background, detector):
    previews = []
    for index in range(60):
        scene = background.copy()
        if index < 20 or index >= 52:
            paste(scene, cuts_of_crowd[0], (300, 180))
        previews.append(scene)
    counts = [len(frame.faces) for frame in run(FaceTracker(detector), previews)]
    assert counts == [1] * 20 + [0] * 32 + [1] * 8


def test_violent_shake(astronaut, render, detector):
    """The camera jumps by a third of the face's width from frame to frame, blurred by its own motion."""
    rng = np.random.default_rng(2)
    centres = np.array([225.0, 150.0]) + np.cumsum(rng.normal(0, 1.0, (48, 2)), axis=0)
    centres += 14 * np.stack([np.sin(np.arange(48) * 2.1), np.cos(np.arange(48) * 1.7)], axis=1)
    previews, boxes = camera_path(render, astronaut, centres, shutter=0.8)
    frames = run(FaceTracker(detector), previews)
    assert {frame.shot for frame in frames} == {0}
    assert [len(frame.faces) for frame in frames] == [1] * 48
    assert len({frame.faces[0].track for frame in frames}) == 1
    error = np.array(
        [centre_of(f.faces[0].box) / SCALE - centre_of(b) for f, b in zip(frames, boxes, strict=True)]
    )
    assert np.abs(error - error.mean(axis=0)).max() < 6


@pytest.mark.parametrize("seed", range(2))
def test_a_shaken_group_keeps_its_tracks(seed, crowd, render, detector):
    """The picture jumps by more than a face's width, further than the faces' distance from each other."""
    jumps = np.random.default_rng(seed).uniform(-70, 70, (24, 2))
    centres = np.array([640.0, 443.0]) + jumps
    frames = run(FaceTracker(detector), [render(crowd, tuple(centre), 0.4) for centre in centres])
    assert [len(frame.faces) for frame in frames] == [6] * 24
    assert {face.track for frame in frames for face in frame.faces} == set(range(6))


def test_landmarks_follow_the_face(astronaut, render, detector):
    previews, _ = camera_path(render, astronaut, paths(24)["linear"])
    frames = run(FaceTracker(detector), previews)
    expected = detector.detect(previews[12])[0].landmarks * SCALE
    assert frames[12].faces[0].landmarks.shape == (5, 2)
    assert np.abs(frames[12].faces[0].landmarks - expected).max() < 5


@pytest.mark.parametrize(("detect_every", "lookahead"), [(0, 4), (5, 4)])
def test_impossible_settings(detect_every, lookahead, scripted):
    with pytest.raises(ValueError, match="at least"):
        FaceTracker(scripted([]), detect_every=detect_every, lookahead=lookahead)
