"""The names that the package offers at its top, its version, and the wheel that is built of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

import finst

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", finst.__all__)
def test_every_offered_name_is_there(name):
    assert getattr(finst, name).__name__ == name
    assert name in dir(finst)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"'heads'.*counterfactuals.*open_vlm"):
        _ = finst.heads  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_imports_no_torch():
    code = "import sys, finst; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_that_of_pyproject_everywhere():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert cited is not None
    assert newest is not None
    assert {declared, finst.__version__, version("finst"), cited[1], newest[1]} == {declared}


def test_the_built_wheel_opens_the_organism_in_a_new_environment(tmp_path):
    """What is installed is whole: weights, templates and style sheets; libraries are those of this environment."""
    wheels, home = tmp_path / "wheels", tmp_path / "venv"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.iterdir()
    venv.create(home, with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    python = Path(paths["scripts"]) / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (Path(paths["purelib"]) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = f"""
import finst
assert finst.__file__.startswith({str(home)!r}), finst.__file__
vlm = finst.open_vlm("organism", device="cpu")
print(finst.__version__, vlm.n_layers, vlm.n_heads)
"""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = partial(subprocess.run, capture_output=True, text=True, check=True, cwd=tmp_path, env=outside)
    opened = run([python, "-c", code])
    assert opened.stdout.split() == [finst.__version__, "6", "8"]
    small = ["--pairs", "2", "--permutations", "20", "--bootstraps", "20", "--out", "run"]
    run([Path(paths["scripts"]) / "finst", "run", "cma", "organism", *small])
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()
