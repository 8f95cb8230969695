"""Cost of a training step by crop, batch and classes, and cost of the start by photos: docs/cost.md.

    python -m benchmarks.cost step crop 256 384 512 --repeats 3 >> cost.csv
    python -m benchmarks.cost data 1000 10000 100000 >> cost.csv
    python -m benchmarks.cost plot cost.csv docs/images

Each size is measured in a process of its own. The first phase learns from image labels alone; the last has walk, PAR
and affinity labels, for at most as many classes as pixel labels have room for.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from torch.utils.data import DataLoader

from afa_wsss.data import CropSettings, VOCDataset
from afa_wsss.data.loading.sets import TrainSet, collate
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.supervision.maps import MOST_CLASSES
from afa_wsss.training.samplers import CropSampler
from benchmarks.measure import peak_of
from benchmarks.stages import module_of, network, optimizer_of, training_batch

BASE = {"crop": 256, "batch": 4, "classes": 20}
"""The other two sizes while one grows."""

PHASES = {"first phase": 1, "last phase": 0}
"""The first step with pixel labels; step 0 is measured."""

LABELS = {"crop": "side of the crop, pixels", "batch": "crops in a batch", "classes": "classes", "photos": "photos"}


def step_cost(phase: str, settings: dict[str, int], repeats: int) -> tuple[float, float]:
    """Median seconds of a step of MiT-B1, and peak MiB above the memory of network, optimizer and batch."""
    model = network(settings["classes"])
    module, optimizer = module_of(model, first_step=PHASES[phase]), optimizer_of(model)
    batch = training_batch(settings["crop"], settings["batch"], settings["classes"])

    def step() -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    peak, seconds = peak_of(step), []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return median(seconds), peak / 2**20


def write_index(root: Path, photos: int) -> None:
    """Writes a folder in VOC's layout: ``photos`` names that all link to one photo, and their cached labels."""
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (375, 500, 3), dtype=np.uint8)).save(root / "photo.jpg")
    names = [f"{number:07d}" for number in range(photos)]
    for name in names:
        (root / "JPEGImages" / f"{name}.jpg").symlink_to(root / "photo.jpg")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names))
    labels = {name: [number % 20, (number + 3) % 20] for number, name in enumerate(names)}
    VOCDataset(root, "train").label_cache.write(labels)


def data_cost(root: Path) -> dict[str, float]:
    """Seconds and MiB of the index, of the file check and of the first batch."""
    held: list[Any] = []

    def index() -> None:
        held.append(VOCDataset(root, "train"))
        _ = held[0].image_labels

    def first_batch() -> None:
        sampler = CropSampler(len(held[0]), batch_size=8, seed=0)
        held.append(TrainSet(held[0], TrainTransform(CropSettings(512)), seed=0))
        loader: Any = DataLoader(held[1], batch_size=8, sampler=sampler, collate_fn=collate)
        next(iter(loader))

    found = {}
    for name, job in {"index": index, "files": lambda: held[0].check_files(), "first batch": first_batch}.items():
        start = time.perf_counter()
        found[f"{name}, MiB"] = peak_of(job) / 2**20
        found[f"{name}, s"] = time.perf_counter() - start
    return found


def in_own_process(*words: str) -> dict[str, Any]:
    """The JSON that this script prints for ``words`` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.cost", *words]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def measure_steps(axis: str, values: list[int], repeats: int, write: Callable[[str], None]) -> None:
    """Writes a CSV row for each value, phase and quantity: axis, value, quantity, number."""
    for value in values:
        settings = BASE | {axis: value}
        for phase in PHASES:
            if phase == "last phase" and settings["classes"] > MOST_CLASSES:
                continue
            found = in_own_process("one-step", phase, json.dumps(settings), "--repeats", str(repeats))
            for quantity, number in found.items():
                write(f'{axis},{value},"{quantity}",{number:.4g}')


def measure_data(values: list[int], write: Callable[[str], None]) -> None:
    """Writes a CSV row for each number of photos and quantity: axis, value, quantity, number."""
    for value in values:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "VOC2012"
            write_index(root, value)
            for quantity, number in in_own_process("one-data", str(root)).items():
                write(f'photos,{value},"{quantity}",{number:.4g}')


def draw(table: Path, folder: Path) -> list[Path]:
    """Saves a chart for each axis: seconds on the left, memory on the right; returns the paths."""
    rows = [row for row in csv.reader(table.read_text(encoding="utf-8").splitlines()) if row]
    paths = []
    for axis in dict.fromkeys(row[0] for row in rows):
        figure = Figure(figsize=(7, 2.6), layout="constrained")
        sides = figure.subplots(1, 2)
        for side, unit in zip(sides, ("s", "MiB"), strict=True):
            own = [row for row in rows if row[0] == axis and row[2].endswith(f", {unit}")]
            for quantity in dict.fromkeys(row[2] for row in own):
                points = [(int(row[1]), float(row[3])) for row in own if row[2] == quantity]
                side.plot(
                    *zip(*points, strict=True), marker="o", markersize=3, label=quantity.removesuffix(f", {unit}")
                )
            if axis in ("classes", "photos"):
                side.set_xscale("log")
            if axis == "photos":
                side.set_yscale("log")
            side.set_xlabel(LABELS[axis])
            side.set_ylabel({"s": "seconds", "MiB": "peak MiB"}[unit])
            side.set_ylim(bottom=None if axis == "photos" else 0)
        figure.legend(
            *sides[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8
        )
        paths.append(folder / f"cost_{axis}.svg")
        figure.savefig(paths[-1], metadata={"Date": None})
    return paths


def main() -> None:
    """Runs the job that the first argument names; see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("step", "data", "plot", "one-step", "one-data"))
    parser.add_argument("words", nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    words, write = settings.words, Console(highlight=False, soft_wrap=True).print
    match settings.what:
        case "step":
            measure_steps(words[0], [int(word) for word in words[1:]], settings.repeats, write)
        case "data":
            measure_data([int(word) for word in words], write)
        case "one-step":
            torch.manual_seed(0)
            seconds, memory = step_cost(words[0], json.loads(words[1]), settings.repeats)
            write(json.dumps({f"{words[0]}, s": seconds, f"{words[0]}, MiB": memory}))
        case "one-data":
            write(json.dumps(data_cost(Path(words[0]))))
        case "plot":
            write("\n".join(str(path) for path in draw(Path(words[0]), Path(words[1]))))


if __name__ == "__main__":
    main()
