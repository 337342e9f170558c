"""The arithmetic is the model's own, whatever the process's settings say, and those are left as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

from finst.engine import precision
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import each_head, unedited
from finst.engine.precision import arithmetic, split_linear
from finst.errors import FinstError
from finst.vlm.open import VLM, open_vlm
from tests.engine.conftest import Case, OpenCase
from tests.tiny import Body


def settings() -> tuple[str, str]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


@pytest.fixture
def tf32_everywhere() -> Iterator[None]:
    before = settings()
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "tf32"
    yield
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before


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
    """One leaves while the other is still at work."""
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
        one, two = pool.submit(first), pool.submit(second)
        one.result()
        first_out.set()
        assert two.result() == ("ieee", "ieee")
    assert settings() == ("tf32", "tf32")


def test_parts_of_split_products_add_up() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 70) * torch.logspace(-20, 20, 70)
    high, low = precision._halves(x)
    assert torch.equal(high + low, x)
    assert (high.view(torch.int32) & 0x1FFF == 0).all()
    assert (low.abs() <= x.abs() * 2.0**-10).all()


@pytest.mark.parametrize("bias", [False, True])
def test_split_products_are_float32_products(bias: bool) -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(2, 5, 300), torch.randn(40, 300), torch.randn(40) if bias else None
    truth = functional.linear(x.double(), w.double(), None if b is None else b.double())
    split, plain = split_linear(x, w, b), functional.linear(x, w, b)
    assert split.shape == plain.shape
    error, rounding = ((y - truth).norm() / truth.norm() for y in (split, plain))
    assert error < 3e-7
    assert rounding < 3e-7


def test_a_map_by_split_products(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    split = VLM(case.vlm.reader, case.vlm.model, split_products=True)
    rows = unedited() + each_head(case.recording.z[1], case.positions["described"])
    expected = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    shapes: list[tuple[int, ...]] = []
    original = precision.split_linear

    def counted(*args: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(args[1].shape))
        return original(*args)

    monkeypatch.setattr(precision, "split_linear", counted)
    assert (counterfactuals(split, case.recording[0], rows, case.answers) - expected).abs().max() < 1e-5
    assert len(shapes) == 7 * case.vlm.n_layers + 1
    shapes.clear()
    counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    assert not shapes


def test_split_products_are_for_gpus(case: Case) -> None:
    with pytest.raises(FinstError, match=r"'tf32x3' is for CUDA devices, not for 'cpu'; expected float32"):
        open_vlm(case.vlm.reader, dtype="tf32x3", device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("tf32_everywhere")
def test_precision_on_a_gpu(open_case: OpenCase) -> None:
    """With TF32 allowed everywhere, float32 stays float32 and three TF32 products come as close to float64."""
    torch.manual_seed(0)
    x, w = torch.randn(100, 3000, device="cuda"), torch.randn(400, 3000, device="cuda")
    truth = x.double() @ w.double().mT
    with arithmetic(open_case(Body(), "float32", "cuda").vlm):
        plain, split = functional.linear(x, w), split_linear(x, w)
    one = functional.linear(x, w)
    errors = [float((y - truth).norm() / truth.norm()) for y in (plain, split, one)]
    assert errors[0] < 1e-6
    assert errors[1] < 2e-6
    assert errors[2] > 1e-5
