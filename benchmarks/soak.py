"""Kills runs at random times, resumes them by the same words, and compares them with one that was never killed.

    python -m benchmarks.soak --runs 20 --folder outputs/soak

Each run is started by the installed command in processes of its own, killed with SIGKILL, all of them at once, and
started again until it ends. Weights, scores and ``metrics.csv`` have to be equal to the bit, for loaders in the main
process and in two others, and for one and two training processes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from afa_wsss.data.partshapes.write import write_partshapes

COMMAND = Path(sys.executable).parent / "afa-train"

TIMED = "train/images_per_second"
"""What differs between any two runs."""


def words(root: Path, folder: Path, *, steps: int, workers: int, processes: int) -> list[str]:
    """The command of a small run with dropout and DropPath through all phases of the method."""
    settings = {
        "experiment": "demo",
        "data.root": root,
        "data.crop_size": 48,
        "data.batch_size": 2,
        "data.eval_batch_size": 3,
        "data.num_workers": workers,
        "model.pretrained": "null",
        "model.dropout": 0.3,
        "supervision.first_step": steps // 4,
        "supervision.walk_first_step": steps // 2,
        "supervision.refinement.steps": 2,
        "trainer.max_steps": steps,
        "trainer.val_check_interval": max(1, steps // 3),
        "trainer.checkpoint_interval": 2,
        "trainer.log_every_n_steps": 3,
        "trainer.accelerator": "cpu",
        "trainer.devices": processes,
        "callbacks": "none",
        "logger": "csv",
        "output_dir": folder,
        "resume": "auto",
    }
    return [str(COMMAND), *(f"{name}={value}" for name, value in settings.items())]


def run_until_killed(command: Sequence[str], folder: Path, *, seconds: float | None) -> float | None:
    """Runs the command; ``seconds`` after it has begun to train, all its processes are killed with SIGKILL.

    Returns:
        How long it went on after it had begun, None where it was killed.

    Raises:
        RuntimeError: Where it ended with an error.
    """
    begun, log = folder / "config.yaml", folder.with_suffix(".log")  # the file is written before the first step
    begun.unlink(missing_ok=True)
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("a", encoding="utf-8") as output:
        run = subprocess.Popen(command, stdout=output, stderr=output, env=surroundings, start_new_session=True)
    while run.poll() is None and not begun.is_file():
        time.sleep(0.02)
    started = time.monotonic()
    try:
        code = run.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return None
    if code != 0:
        raise RuntimeError(f"need exit code 0, got {code}; see {log}")
    return time.monotonic() - started


def outcome(folder: Path) -> dict[str, Any]:
    """Weights, scores and logged rows of a finished run, without what measures time."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    with (folder / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            sorted((name, value) for name, value in row.items() if value and name != TIMED)
            for row in csv.DictReader(file)
        ]
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    scores.pop(TIMED, None)
    return {"weights": checkpoint["state_dict"], "scores": scores, "rows": sorted(rows)}


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What is not equal to the bit, by name."""
    weights = [name for name, value in expected["weights"].items() if not torch.equal(found["weights"][name], value)]
    return weights + [name for name in ("scores", "rows") if found[name] != expected[name]]


def soak(
    folder: Path,
    *,
    runs: int,
    steps: int = 24,
    most_kills: int = 3,
    seed: int = 0,
    kinds: Sequence[tuple[int, int]] = tuple(product((0, 2), (1, 2))),
) -> list[str]:
    """A line for each run that was killed and does not equal the one that never was; says how each went.

    Args:
        folder: For data and runs; what an earlier soak left there is removed.
        runs: How many are killed, dealt out over ``kinds``.
        steps: Training steps of each run.
        most_kills: Each is killed once at least, and at most so often.
        seed: Seed of the times at which runs are killed.
        kinds: Loader workers and training processes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    draw, wrong = random.Random(seed), []
    root = write_partshapes(folder / "data", train=8, val=5, size=48)
    whole: dict[tuple[int, int], tuple[dict[str, Any], float]] = {}
    for index in range(runs):
        kind = workers, processes = kinds[index % len(kinds)]
        shape = {"steps": steps, "workers": workers, "processes": processes}
        name = f"workers_{workers}_processes_{processes}"
        if kind not in whole:
            lasted = run_until_killed(words(root, folder / name, **shape), folder / name, seconds=None)
            whole[kind] = outcome(folder / name), lasted or 0.0
        expected, lasted = whole[kind]
        run = folder / f"{name}_{index}"
        command, killed = words(root, run, **shape), 0
        while killed == 0:  # one that ended before its time came is begun again
            shutil.rmtree(run, ignore_errors=True)
            for _ in range(draw.randint(1, most_kills)):
                killed += run_until_killed(command, run, seconds=draw.uniform(0, 0.9) * lasted) is None
        run_until_killed(command, run, seconds=None)
        found = differing(outcome(run), expected)
        say(f"{run.name}: killed {killed} times, {'differs: ' + ', '.join(found) if found else 'equal'}")
        wrong += [f"{run.name}: {', '.join(found)}"] if found else []
    return wrong


def say(line: str) -> None:
    """At once, also where the output is a file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Kill runs at random times and compare them with one never killed.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("outputs/soak"))
    given = parser.parse_args()
    wrong = soak(given.folder, runs=given.runs, steps=given.steps, seed=given.seed)
    say(f"{given.runs - len(wrong)} of {given.runs} runs are equal to one that was never killed")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
