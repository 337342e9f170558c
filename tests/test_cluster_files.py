"""The scripts for clusters: valid, and calling finst with options that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from finst.cli.main import Command
from finst.cli.options import Reproduce

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sbatch"))


def parsed(line: str) -> Reproduce:
    """The options of a line that begins with ``finst reproduce``."""
    words = shlex.split(line.replace("$((SLURM_JOB_NUM_NODES * GPUS))", "16"))
    assert words[:2] == ["finst", "reproduce"]
    command = Command(("reproduce",), "", "finst.cli.options:Reproduce", "")
    options = command.parse(words[2:])
    options.execution.check(options.device)
    return options


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_call_finst_as_it_is(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    (line,) = re.findall(r"^(?:exec )?(finst .*)$", script.read_text(), re.MULTILINE)
    options = parsed(line)
    assert options.full
    assert options.execution.name == ("ray" if "several-nodes" in script.name else "processes")
    assert {"nodes", "gpus-per-node", "time"} <= set(re.findall(r"^#SBATCH --([a-z-]+)=", script.read_text(), re.M))


def test_there_is_one_of_each() -> None:
    assert len(SCRIPTS) == 2


def test_the_job_of_kuberay_has_what_kuberay_requires() -> None:
    job: Any = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    for part in (head, group):
        assert isinstance(part["rayStartParams"], dict)
        assert all(isinstance(value, str) for value in part["rayStartParams"].values())
        (container,) = part["template"]["spec"]["containers"]
        assert container["image"]
        (volume,) = part["template"]["spec"]["volumes"]
        assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
    assert group["groupName"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert parsed(job["spec"]["entrypoint"]).execution.name == "ray"


def test_the_versions_of_ray_are_the_tested_one() -> None:
    job: Any = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    tested = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert tested is not None
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == tested[1]
