"""Which executor is meant, and what is refused at once."""

from __future__ import annotations

import pytest

from finst.errors import FinstError
from finst.runs.backends import execution
from finst.runs.backends.execution import MOST_WORKERS, Execution, devices_of


@pytest.mark.parametrize(
    ("executor", "workers", "device", "gpus", "expected"),
    [
        (None, None, "auto", 0, "here"),
        (None, None, "auto", 1, "here"),
        (None, None, "auto", 2, "processes"),
        (None, None, "auto", 8, "processes"),
        (None, None, "cpu", 8, "here"),
        (None, None, "cuda", 8, "here"),
        (None, None, "cuda:1", 8, "here"),
        (None, None, "cuda:all", 8, "here"),
        (None, 2, "auto", 0, "processes"),
        (None, 1, "cpu", 0, "processes"),
        ("here", None, "auto", 8, "here"),
        ("here", 1, "auto", 8, "here"),
        ("processes", None, "cpu", 0, "processes"),
        ("ray", 3, "auto", 0, "ray"),
        ("ray:10.0.0.1:6379", None, "auto", 8, "ray"),
    ],
)
def test_the_default_is_processes_where_there_are_several_gpus(
    executor: str | None, workers: int | None, device: str, gpus: int, expected: str
) -> None:
    chosen = Execution(executor, workers)
    chosen.check(device)
    assert chosen.chosen(device, gpus) == expected


def test_an_address_is_what_follows_the_first_colon() -> None:
    assert Execution("ray").address is None
    assert Execution("ray:ray://head:10001").address == "ray://head:10001"


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "expected"),
    [
        ("cpu", None, 0, ("cpu",) * 4),
        ("cpu", 2, 8, ("cpu",) * 2),
        ("auto", 9, 0, ("cpu",) * 9),
        ("auto", None, 3, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda", 2, 3, ("cuda:0", "cuda:1")),
        ("cuda:2", None, 3, ("cuda:2",)),
        ("cuda:2", 1, 3, ("cuda:2",)),
    ],
)
def test_workers_have_a_gpu_each_or_share_the_cores(
    device: str, workers: int | None, gpus: int, expected: tuple[str, ...]
) -> None:
    assert devices_of(device, workers, gpus, cores=4) == expected


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "message"),
    [
        ("auto", 4, 3, "workers is 4, and there are 3 visible GPUs: expected at most 3"),
        ("cuda", 1, 0, "there are 0 visible GPUs"),
        ("cuda:1", 2, 3, "device 'cuda:1' is one GPU: expected at most 1"),
        ("cuda:all", None, 3, "one model on all GPUs"),
    ],
)
def test_workers_without_a_gpu_are_refused(device: str, workers: int | None, gpus: int, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        devices_of(device, workers, gpus, cores=4)


@pytest.mark.parametrize(
    ("executor", "workers", "device", "message"),
    [
        ("slurm", None, "auto", "unknown executor 'slurm': expected one of here, processes, ray, ray:ADDRESS"),
        ("", None, "auto", "unknown executor ''"),
        ("ray:", None, "auto", "unknown executor 'ray:'"),
        ("processes:3", None, "auto", "unknown executor 'processes:3'"),
        ("processes", 0, "auto", "workers is 0: expected 1 to 1,024"),
        (None, -1, "auto", "workers is -1"),
        (None, MOST_WORKERS + 1, "auto", "workers is 1,025"),
        ("here", 2, "auto", "here, which is one process"),
        ("processes", None, "cuda:all", "'cuda:all' is one model on all GPUs"),
        (None, 2, "cuda:all", "'cuda:all' is one model on all GPUs"),
    ],
)
def test_what_no_machine_can_do_is_refused(
    executor: str | None, workers: int | None, device: str, message: str
) -> None:
    with pytest.raises(FinstError, match=message):
        Execution(executor, workers).check(device)


def test_ray_without_ray_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "find_spec", lambda _: None)
    with pytest.raises(FinstError, match=r"pip install 'finst\[cluster\]'"):
        Execution("ray:10.0.0.1:6379").check()
