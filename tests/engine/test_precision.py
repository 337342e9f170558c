"""The arithmetic is that of the model's number format, whatever the process's settings, which are restored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.nn import functional

from finst.engine import precision
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import each_head, unedited
from finst.engine.precision import arithmetic, split_linear, split_side_by_side
from finst.errors import FinstError
from finst.vlm.open import VLM, open_vlm
from tests.engine.conftest import Case, OpenCase
from tests.tiny import Body

MATMUL: Any = torch.backends.cuda.matmul
CUDNN: Any = torch.backends.cudnn
CONVOLUTIONS: Any = CUDNN.conv


def settings() -> tuple[str, str]:
    return MATMUL.fp32_precision, CONVOLUTIONS.fp32_precision


@pytest.fixture
def tf32_everywhere() -> Iterator[None]:
    before = settings()
    MATMUL.fp32_precision = CONVOLUTIONS.fp32_precision = "tf32"
    yield
    MATMUL.fp32_precision, CONVOLUTIONS.fp32_precision = before


@pytest.mark.usefixtures("tf32_everywhere")
def test_float32_is_without_tf32(case: Case, open_case: OpenCase) -> None:
    with arithmetic(case.vlm):
        assert settings() == ("ieee", "ieee")
        with arithmetic(case.vlm):
            assert settings() == ("ieee", "ieee")
        assert settings() == ("ieee", "ieee")
    assert settings() == ("tf32", "tf32")
    with arithmetic(open_case(Body(), "bfloat16").vlm):
        assert settings() == ("tf32", "tf32")
    with pytest.raises(RuntimeError, match="in the middle"), arithmetic(case.vlm):
        raise RuntimeError("in the middle")
    assert settings() == ("tf32", "tf32")


@pytest.mark.usefixtures("tf32_everywhere")
def test_threads_share_the_setting(case: Case) -> None:
    """A thread leaves while another is still inside."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with arithmetic(case.vlm):
            first_in.set()
            assert second_in.wait(10)

    def second() -> tuple[str, str]:
        assert first_in.wait(10)
        with arithmetic(case.vlm):
            second_in.set()
            assert first_out.wait(10)
            return settings()

    with ThreadPoolExecutor(2) as pool:
        first_call, second_call = pool.submit(first), pool.submit(second)
        first_call.result()
        first_out.set()
        assert second_call.result() == ("ieee", "ieee")
    assert settings() == ("tf32", "tf32")


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_add_up(parts: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 70) * torch.logspace(-20, 20, 70)
    halves = split_side_by_side(x, list(range(parts))).double().unflatten(1, (parts, 70))
    error = (halves.sum(1) - x.double()).abs() / x.abs()
    assert error.max() <= (2.0**-17 if parts == 2 else 0)
    assert (halves[:, 1].abs() <= halves[:, 0].abs() * 2.0**-8 * 1.01).all()
    reordered = split_side_by_side(x, [1, 0, 1]).double().unflatten(1, (3, 70))
    assert torch.equal(reordered, halves[:, [1, 0, 1]])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("parts", "most"), [(2, 1e-5), (3, 5e-7)])
def test_split_products_are_float32_products(parts: int, most: float, bias: bool) -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(2, 5, 300), torch.randn(40, 300), torch.randn(40) if bias else None
    truth = functional.linear(x.double(), w.double(), None if b is None else b.double())
    split = split_linear(x, w, b, parts=parts)
    assert split.shape == truth.shape
    assert (split - truth).norm() / truth.norm() < most


@pytest.mark.parametrize("parts", [2, 3])
def test_a_map_by_split_products(case: Case, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    split = VLM(case.vlm.reader, case.vlm.model, parts=parts)
    rows = unedited() + each_head(case.recording.z[1], case.positions["described"])
    expected = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    used: list[int] = []
    original = precision.split_linear

    def counted(*args: torch.Tensor, parts: int) -> torch.Tensor:
        used.append(parts)
        return original(*args, parts=parts)

    monkeypatch.setattr(precision, "split_linear", counted)
    assert (counterfactuals(split, case.recording[0], rows, case.answers) - expected).abs().max() < 1e-4
    assert used == [parts] * (7 * case.vlm.n_layers + 1)
    used.clear()
    counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    assert not used


def test_split_products_are_for_gpus(case: Case) -> None:
    for dtype in ("bf16x3", "bf16x6"):
        with pytest.raises(FinstError, match=f"'{dtype}' is for CUDA devices, not for 'cpu'; expected float32"):
            open_vlm(case.vlm.reader, dtype=dtype, device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("order", [[0], [0, 1], [0, 1, 0], [2, 0, 1, 1, 0, 0]])
@pytest.mark.parametrize("size", [(1, 1), (3, 1024), (70, 1500), (0, 5)])
def test_the_kernel_splits_as_torch_does(size: tuple[int, int], order: list[int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(*size, device="cuda") * 10 ** torch.empty(size, device="cuda").uniform_(-20, 20)
    split = precision._splitter(x.device)
    assert split is not split_side_by_side
    assert torch.equal(split(x, order), split_side_by_side(x, order))
    assert torch.equal(split(x.mT, order), split_side_by_side(x.mT, order))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("tf32_everywhere")
def test_precision_on_a_gpu(open_case: OpenCase) -> None:
    """With TF32 allowed everywhere, float32 stays float32, and products of parts are far closer to it than TF32."""
    torch.manual_seed(0)
    x, w = torch.randn(100, 3000, device="cuda"), torch.randn(400, 3000, device="cuda")
    truth = x.double() @ w.double().mT
    with arithmetic(open_case(Body(), "float32", "cuda").vlm):
        plain = functional.linear(x, w)
    results = [plain, split_linear(x, w, parts=3), split_linear(x, w, parts=2), functional.linear(x, w)]
    errors = [float((y - truth).norm() / truth.norm()) for y in results]
    for error, (least, most) in zip(errors, [(0, 1e-6), (0, 5e-6), (0, 2e-5), (1e-4, 1e-3)], strict=True):
        assert least < error < most, errors
