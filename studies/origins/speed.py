"""How long a step of training takes on this GPU: plain, compiled, replayed, and several processes at once.

``python -m studies.origins.speed --seconds 175`` prints a short table and writes all numbers to ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from finst.builtin.organism.families import architecture_of
from finst.builtin.organism.training.batches import Batch, LessonStream
from finst.builtin.organism.training.spec import TrainSpec
from finst.builtin.organism.training.train import completed, lessons_of, steps_of

TIMED_S = 4.0
"""How long steps are timed, after everything is compiled and recorded."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    compiled: bool
    graphs: bool
    processes: int = 1
    family: str = "qwen2_vl"
    layers: int = 6
    profiled: bool = False
    autotuned: bool = False
    """The compiler tries many kernels for every product, which takes minutes."""

    @property
    def about_s(self) -> float:
        """What it takes, with a guess at what is compiled already."""
        return 180.0 if self.autotuned else 40.0 + 5 * self.processes if self.compiled else 25.0


CASES = (
    Case("compiled", True, False, profiled=True),
    Case("replayed", True, True),
    Case("replayed", True, True, processes=2),
    Case("replayed", True, True, processes=4),
    Case("replayed, LLaVA-1.5", True, True, family="llava"),
    Case("replayed, 10 layers", True, True, layers=10),
    Case("plain", False, False),
    Case("replayed, not compiled", False, True),
    Case("replayed, autotuned", True, True, autotuned=True),
)
"""In the order in which they are timed, as long as there is time."""


def spec_of(case: Case, workers: int, tokens: int) -> TrainSpec:
    """The binding recipe as the case has it."""
    return TrainSpec(
        Path("nowhere"), family=case.family, mix="binding", layers=case.layers, tokens=tokens, workers=workers,
        compiled=case.compiled, graphs=case.graphs,
    )  # fmt: skip


def timed(step: Callable[[], object], end: Callable[[], object], seconds: float) -> tuple[float, int]:
    """(seconds a step, steps) over at least ``seconds``."""
    begun, steps = time.monotonic(), 0
    while time.monotonic() - begun < seconds or steps < 3:
        step()
        steps += 1
    end()
    return (time.monotonic() - begun) / steps, steps


def work(case: Case, folder: Path, number: int, workers: int, tokens: int) -> dict[str, Any]:
    """Times one process of a case; the others of it are timed at the same time."""
    begun = time.monotonic()
    architecture = architecture_of(case.family)
    spec, recipe = completed(spec_of(case, workers, tokens))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(number)
    torch.set_float32_matmul_precision("high")
    model: Any = architecture.build_model(architecture.build_tokenizer(), recipe.layers).to(device).train()
    steps = steps_of(architecture, model, spec, recipe)
    stream = iter(LessonStream(architecture, recipe.mix, spec.tokens, number, recipe.nearly_full, recipe.low_entropy))
    kept = [next(stream) for _ in range(2 * len(architecture.grids))]
    batches: Iterator[Batch] = cycle(kept)
    for _ in range(5 * len(architecture.grids)):
        steps.step(next(batches), 1e-4)
    loss = steps.loss()
    ready_s = time.monotonic() - begun
    lessons = lessons_of(architecture, spec, recipe)
    for _ in range(2):
        next(lessons)
    (folder / f"ready-{number}").touch()
    while len(list(folder.glob("ready-*"))) < case.processes:
        time.sleep(0.05)
    seconds, count = timed(lambda: steps.step(next(batches), 1e-4), steps.loss, TIMED_S)
    with_lessons, _ = timed(lambda: steps.step(next(lessons), 1e-4), steps.loss, TIMED_S)
    timings: dict[str, Any] = {
        "ready_s": ready_s,
        "step_ms": 1e3 * seconds,
        "with_lessons_ms": 1e3 * with_lessons,
        "steps": count,
        "lessons_a_step": sum(len(batch.input_ids) for batch in kept) / len(kept),
        "gib": torch.cuda.max_memory_reserved() / 2**30 if device.type == "cuda" else None,
        "loss": loss,
    }
    if case.profiled and device.type == "cuda":
        timings["kernels"] = kernels(lambda: steps.step(next(batches), 1e-4), len(kept))
    return timings


def kernels(step: Callable[[], object], count: int) -> dict[str, float]:
    """Milliseconds a step on the GPU by kernel, and of all of them together; over ``count`` steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(count):
            step()
        torch.cuda.synchronize()
    by_name: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        by_name[event.key[:90]] += event.self_device_time_total / 1e3 / count
    largest = sorted(by_name.items(), key=lambda item: -item[1])
    return {"all": sum(by_name.values()), "different": float(len(by_name)), **dict(largest[:25])}


def lessons_a_second(tokens: int, seconds: float = 2.0) -> float:
    """That one process makes, in batches as they are trained on."""
    _, recipe = completed(TrainSpec(Path("nowhere"), mix="binding"))
    stream = iter(
        LessonStream(architecture_of("qwen2_vl"), recipe.mix, tokens, 0, recipe.nearly_full, recipe.low_entropy)
    )
    next(stream)
    begun, made = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        made += len(next(stream).input_ids)
    return made / (time.monotonic() - begun)


def measured(case: Case, cache: Path, workers: int, tokens: int, left_s: float) -> list[dict[str, Any]] | str:
    """Timings of all processes of a case, or the last line of the log of one that failed."""
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"), "TRITON_CACHE_DIR": str(cache / "triton")}
    environment = {**os.environ, **caches, "OMP_NUM_THREADS": "1"}
    if case.autotuned:
        environment |= {"TORCHINDUCTOR_MAX_AUTOTUNE": "1", "TORCHINDUCTOR_COORDINATE_DESCENT_TUNING": "1"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        each = str(max(1, workers // case.processes) if workers else 0)
        command = [sys.executable, "-m", "studies.origins.speed", "--case", json.dumps(asdict(case)), "--place", place]
        command += ["--workers", each, "--tokens", str(tokens)]
        started: list[subprocess.Popen[bytes]] = []
        for number in range(case.processes):
            log = (folder / f"log-{number}").open("wb")
            started.append(subprocess.Popen([*command, "--number", str(number)], env=environment, stderr=log))
        until = time.monotonic() + left_s
        while any(process.poll() is None for process in started):
            if time.monotonic() > until or any(process.poll() for process in started):
                for process in started:
                    process.kill()
                    process.wait()
            time.sleep(0.1)
        if any(process.returncode for process in started):
            logs = [(folder / f"log-{n}").read_text(errors="replace").strip() for n in range(case.processes)]
            late = "no time left" if time.monotonic() > until else "failed without a word"
            return next((log.splitlines()[-1][:300] for log in logs if log), late)
        return [json.loads((folder / f"found-{n}").read_text()) for n in range(case.processes)]


def row(case: Case, timings: Sequence[dict[str, Any]]) -> str:
    """A row of the table: all processes together; the loss is the first one's after the same few steps."""
    together = sum(1e3 / timing["step_ms"] for timing in timings)
    with_lessons = sum(1e3 / timing["with_lessons_ms"] for timing in timings)
    slowest, gib = max(timing["ready_s"] for timing in timings), sum(timing["gib"] or 0 for timing in timings)
    times = (f"{1e3 / together:.1f}", f"{together:.1f}", f"{1e3 / with_lessons:.1f}", f"{slowest:.0f}")
    cells = (*times, f"{gib:.1f}", f"{timings[0]['loss']:.4f}")
    return f"| {case.name} | {case.processes} | {' | '.join(cells)} |"


HEAD = (
    "| steps | processes | ms a step together | steps a second | ms, lessons made beside | s to begin | GiB | loss |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--seconds", type=float, default=175.0, help="of wall clock: cases that do not fit are left out"
    )
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 4))
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the cases, from 0")
    for name in ("case", "place", "number"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        case, place = Case(**json.loads(options.case)), Path(options.place)
        timings = work(case, place, int(options.number), options.workers, options.tokens)
        (place / f"found-{options.number}").write_text(json.dumps(timings))
        return
    begun, report = time.monotonic(), {}
    print(f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'}, torch {torch.__version__}")
    rate = report["lessons_a_second"] = lessons_a_second(options.tokens)
    print(f"one process makes {rate:.0f} lessons a second\n\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        for number, case in enumerate(CASES):
            left = options.seconds - (time.monotonic() - begun)
            if (options.only is not None and number not in options.only) or left < case.about_s:
                continue
            timings = measured(case, Path(cache), options.workers, options.tokens, left)
            report[f"{number} {case.name}"] = {"case": asdict(case), "timings": timings}
            print(
                f"| {case.name} | {case.processes} | failed: {timings} |"
                if isinstance(timings, str)
                else row(case, timings)
            )
            sys.stdout.flush()
    for entry in report.values():
        timings = entry["timings"] if isinstance(entry, dict) else ""
        for timing in () if isinstance(timings, str) else timings:
            for name, spent in list(timing.get("kernels", {}).items())[:14]:
                print(f"{spent:8.2f} ms a step  {name}")
    print(f"\n{time.monotonic() - begun:.0f} s in all")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
