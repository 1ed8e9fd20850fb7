"""The network on its device: precision, and answers that are no numbers."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
import torch
from pictures import Network, restorer, run, stream, to_frame
from torch import Tensor

from fvdeblur import networks
from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.networks.fvd import aligned_neighbours
from fvdeblur.restoration.restorer import select_device, select_precision

CPU = torch.device("cpu")


def windows(count: int, side: int = 32) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (5, side, side, 3), dtype=np.uint8) for _ in range(count)]


def central_less_last(window: np.ndarray) -> np.ndarray:
    return (window[2].astype(np.float32) - window[4]) / 255


def not_a_number_in(*dtypes: torch.dtype) -> Network:
    """A network that answers 0.1, but not a number in these precisions."""

    def answer(x: Tensor) -> Tensor:
        change = torch.full_like(x[:, :3], 0.1)
        if x.dtype in dtypes:
            change[:, 1, 3, 4] = float("nan")
        return change

    return Network(answer)


def test_frames_and_channels_arrive_in_order() -> None:
    network = Network(lambda x: x[:, 6:9] - x[:, 12:15])
    given = windows(3)
    changes = restorer(network).changes(given)
    for seen, window, change in zip(network.seen, given, changes, strict=True):
        np.testing.assert_allclose(seen, window.transpose(1, 2, 0, 3).reshape(32, 32, 15) / 255, atol=1e-7)
        assert change is not None
        assert (change.shape, change.dtype) == ((32, 32, 3), np.float32)
        np.testing.assert_allclose(change, central_less_last(window), atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_in_any_precision_is_none(bad: float) -> None:
    def answer(x: Tensor) -> Tensor:
        change = torch.full_like(x[:, :3], 0.1)
        change[x[:, 0, 0, 0] > 0.5] = bad
        return change

    given = windows(4)
    for k, window in enumerate(given):
        window[0, 0, 0, 0] = 255 * (k % 2)
    results = restorer(Network(answer)).changes(given)
    assert [result is None for result in results] == [False, True, False, True]


def test_bf16_that_fails_is_tried_in_fp32() -> None:
    results = restorer(not_a_number_in(torch.bfloat16), precision="bf16").changes(windows(2))
    for result in results:
        assert result is not None
        assert result == pytest.approx(np.float32(0.1))  # not rounded to bf16, where 0.1 is 0.10009765625


@pytest.mark.parametrize("room", [1, 2, 3])
def test_windows_for_which_memory_is_too_small_are_done_in_parts(room: int) -> None:
    """What comes out, and in which order, is what would come out at once."""
    sizes: list[int] = []

    def answer(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x[:, 6:9] - x[:, 12:15]

    given = windows(5)
    changes = restorer(Network(answer)).changes(given)
    for window, change in zip(given, changes, strict=True):
        assert change is not None
        np.testing.assert_allclose(change, central_less_last(window), atol=1e-6)
    assert sum(size for size in sizes if size <= room) == 5
    assert sizes[0] == 5


def test_a_window_for_which_memory_is_too_small_is_said_to_be() -> None:
    def answer(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(
        FvdeblurError, match=r"^CPU has too little free memory for a face of 32x32 pixels; .*$"
    ):
        restorer(Network(answer)).changes(windows(3))


def test_bf16_is_used_where_it_works() -> None:
    given = windows(1)
    (exact,) = restorer(Network(lambda x: x[:, 6:9]), precision="fp32").changes(given)
    (rounded,) = restorer(Network(lambda x: x[:, 6:9]), precision="bf16").changes(given)
    assert exact is not None
    assert rounded is not None
    assert 0 < np.abs(exact - rounded).max() < 1 / 256


@pytest.mark.parametrize(
    ("dtypes", "restored", "left"),
    [((), 3, {}), ((torch.bfloat16,), 3, {}), ((torch.bfloat16, torch.float32), 0, {"no finite result": 3})],
)
def test_a_face_without_a_finite_result_is_left_alone_and_counted(
    dtypes: tuple[torch.dtype, ...], restored: int, left: dict[str, int]
) -> None:
    frames = [to_frame(np.full((64, 64, 3), 100, np.uint8)) for _ in range(3)]
    stage = run(not_a_number_in(*dtypes), stream(frames, [[20, 20, 44, 44]]), precision="bf16")
    assert stage.tally.restored == restored
    assert dict(stage.tally.left_alone) == left
    levels = {int(frame.to_ndarray()[0, 32, 32]) for frame in frames}
    assert levels == {124 if restored else 102}


def test_a_real_network_agrees_in_both_precisions() -> None:
    torch.manual_seed(0)
    network = networks.create("fvd", widths=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1,))
    torch.nn.init.normal_(network.tail.weight, std=0.05)
    network.eval().requires_grad_(False)
    given = windows(2, 64)
    exact = restorer(network, precision="fp32").changes(given)
    rounded = restorer(network, precision="bf16").changes(given)
    with torch.no_grad():
        batch = torch.from_numpy(np.stack(given)).permute(0, 1, 4, 2, 3).reshape(2, 15, 64, 64) / 255
        expected = network(batch).permute(0, 2, 3, 1).numpy()
    for one, other, true in zip(exact, rounded, expected, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one, true, atol=1e-5)
        assert np.abs(one - other).max() < 0.05 * np.abs(one).max()


class Aligner(torch.nn.Module):
    """Answers with what must be added to the centre to make it the first neighbour, as it is given, moved onto it."""

    frames, multiple, takes_flow = 5, 16, True

    def __init__(self, seen: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self._seen = seen

    def forward(self, x: Tensor, flow: Tensor, aligned: Tensor) -> Tensor:
        self._seen(flow, (aligned - aligned_neighbours(x, flow)).abs().amax())
        return aligned[:, :3].float() - x[:, 6:9].float()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_that_takes_flow_is_given_it(precision: str) -> None:
    face = skimage.data.astronaut()
    moving = [np.stack([face[40:136, 170 + step * i : 266 + step * i] for i in range(5)]) for step in (3, -2)]
    flow: list[Tensor] = []

    def keep(given: Tensor, difference: Tensor) -> None:
        flow.append(given)
        assert difference < (1.5 if precision == "fp32" else 4) / 255

    changes = restorer(Aligner(keep), precision=precision).changes(moving)
    assert flow[0].shape == (2, 8, 24, 24)
    across = flow[0].float()[:, ::2, 6:18, 6:18].mean(dim=(2, 3))
    np.testing.assert_allclose(across, [[6, 3, -3, -6], [-4, -2, 2, 4]], atol=0.4)
    for change, window in zip(changes, moving, strict=True):
        assert change is not None
        unaligned = np.abs(window[0].astype(np.float32) - window[2])[16:-16, 16:-16].mean() / 255
        assert np.abs(change)[16:-16, 16:-16].mean() < 0.3 * unaligned


def test_devices() -> None:
    assert select_device("cpu") == CPU
    assert select_device("auto").type in {"cpu", "cuda"}
    for name in ("gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0", ""):
        with pytest.raises(UsageError, match="unknown device"):
            select_device(name)


def test_a_cuda_device_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("auto") == torch.device("cuda")
    assert select_device("cuda") == torch.device("cuda")
    assert select_device("cuda:01") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="there are 2 CUDA devices"):
        select_device("cuda:2")


def test_the_number_of_the_device_reaches_the_detector(
    monkeypatch: pytest.MonkeyPatch, small_model: object
) -> None:
    """With ``cuda:1`` the faces are sought there as well."""
    from fvdeblur.restoration import deblurrer, opening

    asked = []
    monkeypatch.setattr(opening, "create_detector", lambda name, **options: asked.append(options))

    class Fake:
        device = torch.device("cuda", 1)

    monkeypatch.setattr(deblurrer, "Restorer", lambda *_: Fake())
    deblurrer.Deblurrer(device="cuda:1", threads=3)
    assert asked == [{"threads": 3, "device": "cuda:1"}]


def test_precisions() -> None:
    assert select_precision("auto", CPU) in {"fp32", "bf16"}
    assert select_precision("fp32", CPU) == "fp32"
    assert select_precision("bf16", CPU) == "bf16"
    with pytest.raises(UsageError, match="unknown precision 'fp8'"):
        select_precision("fp8", CPU)
    with pytest.raises(UsageError, match="needs a GPU"):
        select_precision("fp16", CPU)


def test_torch_without_a_list_of_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest torch that is allowed has only a private function for it."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for answer, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=answer: answer)
        assert select_precision("auto", CPU) == precision
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert select_precision("auto", CPU) == "fp32"


def test_the_number_of_threads_holds_in_the_stages_too(small_model: object) -> None:
    from fvdeblur.restoration import Deblurrer

    before = torch.get_num_threads()
    seen = []
    try:
        Deblurrer(threads=1)
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
