"""Kernels compared with the torch operations that they replace, and the behaviour without kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from finst.engine import kernel_patching as fusion
from finst.engine.precision import linear_by_parts
from finst.engine.prefix import _own_attention
from finst.engine.prefix_attention import attention_with_lse
from finst.vlm.visibility import visible

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
FORMATS = [torch.float32, torch.bfloat16, torch.float16]


def numbers(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu", seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def assert_close(given: Tensor, expected: Tensor, steps: float = 2) -> None:
    """Whether numbers agree within a few rounding steps at their size (or at the typical size, if that is larger)."""
    assert given.dtype == expected.dtype
    assert given.shape == expected.shape
    size = expected.abs().clamp(min=float(expected.abs().float().mean()))
    worst = ((given.float() - expected.float()).abs() / size.float()).max()
    assert worst <= steps * torch.finfo(expected.dtype).eps


def half_turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("width", [1, 48, 3584])
def test_rms_norm(dtype: torch.dtype, width: int) -> None:
    x, weight = numbers(2, 5, width, dtype=dtype, device="cuda"), numbers(width, dtype=dtype, device="cuda", seed=1)
    wide = x.float()
    plain = weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(dtype)
    assert_close(fusion.kernels().rms_norm(x, weight, 1e-6), plain)
    strided = numbers(2, 5, 2 * width, dtype=dtype, device="cuda")[..., :width]
    assert_close(
        fusion.kernels().rms_norm(strided, weight, 1e-6), fusion.kernels().rms_norm(strided.contiguous(), weight, 1e-6)
    )


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("count", [0, 7, 5000])
def test_gates(dtype: torch.dtype, count: int) -> None:
    gate, up = (numbers(3, count, dtype=dtype, device="cuda", seed=seed) for seed in (0, 1))
    if not count:
        assert fusion.kernels().silu_times(gate, up).shape == (3, 0)
        return
    assert_close(fusion.kernels().silu_times(gate, up), functional.silu(gate) * up, steps=8)
    assert_close(fusion.kernels().quick_gelu(gate), gate * torch.sigmoid(1.702 * gate), steps=8)


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("contexts", [1, 2])
@pytest.mark.parametrize(("heads", "width"), [(28, 128), (3, 20)])
def test_rotary(dtype: torch.dtype, contexts: int, heads: int, width: int) -> None:
    x = numbers(2, 9, heads, width, dtype=dtype, device="cuda").transpose(1, 2)
    cos, sin = (numbers(contexts, 9, width, dtype=dtype, device="cuda", seed=seed) for seed in (1, 2))
    turned = x * cos[:, None] + half_turned(x) * sin[:, None]
    given = fusion.kernels().rotary(x, cos, sin)
    assert float((given - turned).abs().max()) <= 2 * torch.finfo(dtype).eps * float(turned.abs().max())


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("width", "rows", "contexts"), [(1, 21, 2), (3, 7, 2), (10, 5, 1), (32, 2, 3)])
@pytest.mark.parametrize(("heads", "kv_heads", "d_head"), [(4, 2, 128), (6, 6, 40)])
def test_own_and_shared(
    dtype: torch.dtype, width: int, rows: int, contexts: int, heads: int, kv_heads: int, d_head: int
) -> None:
    tokens = width * rows * contexts
    query, key, value = (
        numbers(1, tokens, count, d_head, dtype=dtype, device="cuda", seed=index).transpose(1, 2)[0]
        for index, count in enumerate((heads, kv_heads, kv_heads))
    )
    before = [numbers(contexts, kv_heads, 33, d_head, dtype=dtype, device="cuda", seed=seed) for seed in (3, 4)]
    shared_key, shared_value = (x.repeat_interleave(heads // kv_heads, dim=1) for x in before)
    by_context = query.reshape(heads, contexts, -1, d_head).transpose(0, 1)
    shared, lse = attention_with_lse(by_context, shared_key, shared_value, 0.2)
    seen = visible(range(width), range(width), (), None, query.device)
    own, own_lse = _own_attention(query.double(), key.double(), value.double(), seen, 0.2)
    share = torch.sigmoid(lse.double().transpose(1, 2).reshape(tokens, heads) - own_lse)
    truth = own.lerp(shared.double().transpose(1, 2).reshape(tokens, heads, d_head), share[..., None])
    given = fusion.kernels().own_and_shared(query, key, value, shared, lse, width, 0.2)
    assert_close(given, truth.to(dtype), steps=2 if dtype != torch.float32 else 30)


@pytest.mark.gpu
@NO_GPU
def test_parts_of_transformers_are_taken_over_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(fusion, "_compared", set())

    class RMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(numbers(64), requires_grad=False)
            self.eps = 1e-6

        def forward(self, x: Tensor) -> Tensor:
            calls.append("original")
            return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    norm, x = RMSNorm().cuda(), numbers(3, 64, device="cuda")
    kernel, _ = fusion._kernel_of(norm)
    assert kernel is not None
    monkeypatch.setattr(fusion._thread, "depth", 1, raising=False)
    with torch.inference_mode():
        fusion._offer(RMSNorm, "forward", kernel, (norm, x))
        assert calls == ["original"]
        assert_close(norm(x), norm.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6), steps=8)
        assert calls == ["original"]
    norm(x)
    assert calls == ["original"] * 2
    fusion._thread.depth = 0
    with torch.inference_mode():
        norm(x)
    assert calls == ["original"] * 3


def test_what_computes_anything_else_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(x: Tensor) -> Tensor:
        return 2 * x

    def other(x: Tensor) -> Tensor:
        return 2 * x + 1e-3

    def none(_: Tensor) -> None:
        return None

    def of_two(x: Tensor, _: Tensor) -> Tensor:
        return 2 * x

    cases = ((same, True), (other, False), (none, False), (of_two, False))
    for kernel, taken in cases:

        class Written:
            @staticmethod
            def double(x: Tensor) -> Tensor:
                return x + x

        original = Written.double
        monkeypatch.setattr(fusion, "_compared", set())
        fusion._offer(Written, "double", kernel, (numbers(4),))
        assert (getattr(Written.double, "__wrapped__", None) is original) == taken


def test_only_calls_like_the_compared_call_use_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def original(x: float, unsqueeze_dim: int = 1) -> str:
        return f"original {unsqueeze_dim}"

    def kernel(x: float) -> str | None:
        return "kernel" if x > 0 else None

    call = fusion._either(original, kernel, 1)
    assert call(1.0) == "original 1"
    monkeypatch.setattr(fusion._thread, "depth", 1, raising=False)
    assert call(1.0) == "kernel"
    assert call(-1.0) == "original 1"
    assert call(1.0, 2) == "original 2"
    assert call(1.0, unsqueeze_dim=2) == "original 2"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def test_a_linear_layer_by_parts_is_one_in_float32(bias: bool, device: str) -> None:
    x, weight = numbers(3, 640, device=device), numbers(100, 640, dtype=torch.bfloat16, device=device, seed=1)
    added = numbers(100, device=device, seed=2) if bias else None
    expected = functional.linear(x.double(), weight.double(), None if added is None else added.double())
    worst = (linear_by_parts(x, weight, added).double() - expected).abs().max() / expected.abs().max()
    assert worst < 3e-6
