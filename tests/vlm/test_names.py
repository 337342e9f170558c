"""Names of models: accepted and refused without torch, and the spec that names an open model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finst.errors import FinstError
from finst.vlm.names import BUILTIN, check_name, is_folder, unknown_model
from finst.vlm.open import VLM, model_spec, open_vlm
from finst.vlm.placement import DTYPES, PARTS
from finst.vlm.spec import ModelSpec


@pytest.mark.parametrize("name", [*BUILTIN, "Qwen/Qwen2-VL-2B-Instruct", "someone/name_with.dots-1"])
def test_builtin_models_and_hub_ids_are_accepted(name: str) -> None:
    check_name(name)


def test_folders_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    check_name(str(tmp_path / "model"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert is_folder("~/model")
    check_name("~/model")


@pytest.mark.parametrize(
    "name", ["", "organsim", "Qwen2-VL", "a/b/c", "./nowhere/at all", "../up", ".hidden/x", "org/na me", "x" * 5000]
)
def test_other_names_are_refused_with_the_valid_ones(name: str) -> None:
    assert not is_folder(name)
    with pytest.raises(FinstError) as error:
        check_name(name)
    assert str(error.value) == str(unknown_model(name, "no such folder"))
    assert all(part in str(error.value) for part in (repr(name), *BUILTIN, "config.json"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not is_folder(str(tmp_path / "file"))


def test_names_are_checked_without_torch() -> None:
    code = "import sys, finst.vlm.names, finst.vlm.spec; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module")
def single(folder: Path) -> VLM:
    return open_vlm(str(folder), device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_the_spec_of_an_open_model_opens_it_again(folder: Path, dtype: str) -> None:
    vlm = open_vlm(str(folder), dtype=dtype, device="cpu")
    spec = model_spec(vlm)
    assert spec == ModelSpec(str(folder), None, dtype, "cpu")  # pyright: ignore[reportArgumentType]
    again = open_vlm(spec.model, revision=spec.revision, dtype=spec.dtype, device=spec.device)
    assert model_spec(again) == spec
    assert (again.dtype, again.device, again.parts) == (vlm.dtype, vlm.device, vlm.parts)
    for first, second in zip(vlm.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_the_device_of_the_spec_is_the_one_that_auto_chose(folder: Path) -> None:
    assert model_spec(open_vlm(str(folder))).device == "cpu"


@pytest.mark.parametrize("name", DTYPES)
def test_every_number_format_has_its_name(single: VLM, name: str) -> None:
    model = single.model.__class__(single.reader.config).to(DTYPES[name])
    assert model_spec(replace(single, model=model, parts=PARTS.get(name, 0))).dtype == name


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantized_weights_are_named_by_their_bits(single: VLM, quantization: str) -> None:
    assert model_spec(replace(single, quantization=quantization)).dtype == quantization


def test_several_devices_are_named_together(single: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VLM, "devices", (torch.device("cuda", 0), torch.device("cuda", 1)))
    assert model_spec(replace(single)).device == "cuda:all"


def test_the_revision_is_the_readers_commit(single: VLM) -> None:
    reader = replace(single.reader, id="someone/model", revision="0123abc")
    spec = model_spec(replace(single, reader=reader))
    assert (spec.model, spec.revision) == ("someone/model", "0123abc")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["bf16x3", "bf16x6", "bfloat16"])
def test_the_spec_of_a_model_on_a_gpu(folder: Path, dtype: str) -> None:
    spec = model_spec(open_vlm(str(folder), dtype=dtype, device="cuda"))
    assert (spec.dtype, spec.device) == (dtype, "cuda:0")
    assert model_spec(open_vlm(spec.model, dtype=spec.dtype, device=spec.device)) == spec
