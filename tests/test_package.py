"""The names that the package offers at its top."""

import subprocess
import sys

import pytest

import finst


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
