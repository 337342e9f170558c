"""Trains and measures a plan in parallel processes, and stops in time with everything that was finished.

``python -m studies.origins.run plan.json --out DIR --seconds 560 --gpus 2 --pack BACK``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from studies.origins.names import RESULTS
from studies.origins.pack import pack
from studies.origins.plan import Training, read
from studies.origins.work import MEASURED

LAST_S = 25.0
"""Kept free before the end, to stop what is running and to pack."""

Work = Literal["train", "measure"]


@dataclass(frozen=True)
class Machine:
    """What there is to work with."""

    gpus: int = 1
    """0: train on the CPU."""
    each: int = 1
    """Trainings at once on a GPU."""
    measuring: int = 2
    """Measuring processes at once on a GPU, beside the trainings."""
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)

    @property
    def places(self) -> list[str]:
        """GPUs by number; one without a number where there is none."""
        return [str(gpu) for gpu in range(self.gpus)] or [""]

    @property
    def workers(self) -> int:
        """Processes that make lessons for one training; each training has one more that waits for the GPU."""
        busy = len(self.places) * (self.each + self.measuring)
        return max(1, (self.cores - busy) // (len(self.places) * self.each))


@dataclass(eq=False)
class Job:
    """A process at work."""

    work: Work
    training: Training
    place: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    begun: float
    graphs: bool = True


@dataclass(eq=False)
class Study:
    """A plan at work, in the folder ``out``."""

    out: Path
    machine: Machine
    seconds: float
    """Wall clock for all of it."""
    expected: dict[Work, float]
    """Seconds that a piece of work takes, where none of its kind was seen yet."""
    tiny: bool = False
    seen: dict[tuple[Work, str], float] = field(default_factory=dict)
    """The longest that a piece of work took, by group."""
    command: tuple[str, ...] = (sys.executable, "-m", "studies.origins.work")
    """What does a piece of work; takes its kind, the training as JSON, the folder, and options."""
    retried: set[str] = field(default_factory=set)
    jobs: list[Job] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds until everything must stop."""
        return self.seconds - LAST_S - (time.monotonic() - self.begun)

    def has_time(self, work: Work, training: Training) -> bool:
        """Whether a piece of work would end before everything must."""
        deeper = (training.layers or 6) / 6 if work == "train" else 1.0
        return self.left() > self.seen.get((work, training.group), self.expected[work] * deeper)

    def folder(self, training: Training) -> Path:
        """The folder of one training."""
        return self.out / training.name

    def start(self, work: Work, training: Training, place: str, graphs: bool = True) -> None:
        """A process for one piece of work."""
        folder = self.folder(training)
        folder.mkdir(parents=True, exist_ok=True)
        command = [*self.command, work, json.dumps(asdict(training)), str(folder)]
        command += ["--workers", str(self.machine.workers if self.machine.gpus else 0)]
        command += ["--tiny"] if self.tiny else []
        command += [] if self.machine.gpus else ["--device", "cpu"]
        command += [] if graphs else ["--no-graphs"]
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(self.out / "compiled"), "TRITON_CACHE_DIR": str(self.out / "triton")}
        shared = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TORCHINDUCTOR_COMPILE_THREADS": "8"}
        environment = {**os.environ, **cache, **shared, "CUDA_VISIBLE_DEVICES": place}
        log = (folder / f"{work}.log").open("ab")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.jobs.append(Job(work, training, place, process, log, time.monotonic(), graphs))
        self.note(f"{work} {training.name} on {place or 'the CPU'}")

    def note(self, text: str) -> None:
        """With the time since the beginning."""
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", flush=True)

    def record(self, training: Training, status: str, **known: Any) -> None:
        """A line of the results."""
        line = {"name": training.name, "training": asdict(training), "status": status, **known}
        with (self.out / RESULTS).open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        self.note(f"{status}: {training.name}")

    def followers(self, training: Training) -> list[Job]:
        """Those who measure its checkpoints."""
        return [job for job in self.jobs if job.work == "measure" and job.training == training]

    def free(self, work: Work) -> list[str]:
        """Places that can take another piece of work, the least busy first."""
        most = self.machine.each if work == "train" else self.machine.measuring
        at_work = [job.place for job in self.jobs if job.work == work]
        places = [place for place in self.machine.places if at_work.count(place) < most]
        return sorted(places, key=[job.place for job in self.jobs].count)


def run(plan: Sequence[Training], study: Study) -> None:
    """Does the plan, or as much of it as there is time for; what has a line already is left alone."""
    study.out.mkdir(parents=True, exist_ok=True)
    known = {line["name"] for line in results(study.out) if line["status"] == "measured"}
    waiting = [training for training in plan if training.name not in known]
    to_measure = [training for training in waiting if (study.folder(training) / "model" / "training.json").is_file()]
    waiting = [training for training in waiting if training not in to_measure]
    while study.left() > 0 and (waiting or to_measure or study.jobs):
        for place in study.free("measure"):
            begin(study, "measure", to_measure, place)
        for place in study.free("train"):
            begin(study, "train", waiting, place)
        if not study.jobs:
            break
        to_measure += finished(study)
        time.sleep(0.2)
    stopped(study)
    for training in (*to_measure, *waiting):
        study.note(f"not done: {training.name}")


def begin(study: Study, work: Work, waiting: list[Training], place: str) -> None:
    """Starts the first of those that wait for which there is time."""
    chosen = next((training for training in waiting if study.has_time(work, training)), None)
    if chosen is not None:
        waiting.remove(chosen)
        study.start(work, chosen, place)
        if work == "train" and chosen.checkpoints:
            study.start("measure", chosen, place)


def finished(study: Study) -> list[Training]:
    """Takes up what has ended since; the trainings that can be measured now."""
    trained = []
    for job in [job for job in study.jobs if job.process.poll() is not None]:
        study.jobs.remove(job)
        job.log.close()
        took = time.monotonic() - job.begun
        study.note(f"{job.work} {job.training.name} ended after {took:.0f} s")
        if job.process.returncode == 0:
            kind = job.work, job.training.group
            study.seen[kind] = max(took, study.seen.get(kind, 0.0))
        if job.process.returncode == 0 and job.work == "train":
            trained += [] if study.followers(job.training) else [job.training]
        elif job.process.returncode == 0:
            study.record(job.training, "measured", **measured(study.folder(job.training)))
        elif job.work == "train" and job.graphs and job.training.name not in study.retried:
            study.retried.add(job.training.name)
            study.note(f"again without graphs: {job.training.name}: {last_words(study, job)}")
            emptied(study.folder(job.training) / "model")
            study.start("train", job.training, job.place, graphs=False)
        else:
            for follower in study.followers(job.training):
                study.jobs.remove(follower)
                ended(follower)
            study.record(job.training, f"failed to {job.work}", reason=last_words(study, job))
    return trained


def emptied(folder: Path) -> None:
    """Without what a failed training has left."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}-failed"))


def ended(job: Job) -> None:
    """Ends a process that is at work."""
    job.process.terminate()
    try:
        job.process.wait(5)
    except subprocess.TimeoutExpired:
        job.process.kill()
        job.process.wait()
    job.log.close()


def stopped(study: Study) -> None:
    """Ends what is still at work, and keeps what is known of it."""
    for job in study.jobs:
        job.process.terminate()
    for job in study.jobs:
        ended(job)
        known = measured(study.folder(job.training)) if job.work == "measure" else {}
        study.record(job.training, f"no time to {job.work}", reason=last_words(study, job), **known)
    study.jobs.clear()


def measured(folder: Path) -> dict[str, Any]:
    """What is known of a model so far."""
    file = folder / MEASURED
    return json.loads(file.read_text()) if file.is_file() else {}


def last_words(study: Study, job: Job) -> str:
    """The last line of its log."""
    text = (study.folder(job.training) / f"{job.work}.log").read_text(errors="replace").strip()
    return text.splitlines()[-1][-500:] if text else ""


def results(out: Path) -> list[dict[str, Any]]:
    """All lines of a study."""
    file = out / RESULTS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and measures a plan."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("plan", type=Path, help="what studies.origins.plan printed")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study; taken up where it stopped")
    parser.add_argument("--seconds", type=float, required=True, help="of wall clock, for all of it")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--each", type=int, default=1, help="trainings at once on a GPU")
    parser.add_argument("--measuring", type=int, default=2, help="measurements at once on a GPU")
    parser.add_argument("--train-s", type=float, default=330.0, help="how long a training is expected to take at first")
    parser.add_argument("--measure-s", type=float, default=90.0, help="the same of measuring")
    parser.add_argument("--pack", type=Path, help="folder for at most 8 files of 16 MiB to be carried away")
    parser.add_argument("--tiny", action="store_true", help="a few pairs and trials, for a test")
    options = parser.parse_args(arguments)
    machine = Machine(options.gpus, options.each, options.measuring)
    expected: dict[Work, float] = {"train": options.train_s, "measure": options.measure_s}
    study = Study(options.out, machine, options.seconds, expected, options.tiny)
    run(read(options.plan.read_text()), study)
    if options.pack:
        pack(options.out, options.pack)
        study.note(f"packed: {options.pack}")


if __name__ == "__main__":
    main()
