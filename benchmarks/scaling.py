"""What 8, 64 and 512 GPUs need, computed from what was counted and measured without one: docs/scaling.md.

    python -m benchmarks.scaling count mit_b1 mit_b5 > scaling.csv   # parameters and FLOPs, in minutes
    python -m benchmarks.scaling photos FOLDER                       # CPU time of a crop by size of the photo
    python -m benchmarks.scaling tables                              # Markdown, from the figures beside this file

Everything about a GPU follows from counts, the figures of ``MACHINE`` and an assumed share of its arithmetic.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from rich.console import Console

from afa_wsss.data import CropSettings
from afa_wsss.data.loading.transforms import TrainTransform
from benchmarks.cost import PHASES
from benchmarks.flops import counted

CROP, CROPS_PER_GPU, CLASSES = 512, 8, 80
GPUS, SHARES, WORKERS = (8, 64, 512), (0.1, 0.3), 4
"""Numbers of GPUs, shares of a GPU's arithmetic that are assumed, and ``data.num_workers`` as it is by default."""

Counts = Mapping[str, Mapping[str, float]]
"""Parameters and FLOPs of a crop in each phase, by backbone."""


class Machine(NamedTuple):
    """A GPU and its node, by what their makers state.

    Attributes:
        name: Name in the tables.
        flops: Floating-point operations of dense matrix products in bfloat16, per second.
        gpus: GPUs of a node.
        cores: CPU cores for each GPU.
        inside: Bytes per second that a GPU sends to others of its node.
        between: Bytes per second that a node sends to others.
    """

    name: str
    flops: float
    gpus: int
    cores: int
    inside: float
    between: float


MACHINE = Machine("A100, 8 in a node", 312e12, 8, 16, 300e9, 200e9 / 8)


class Photos(NamedTuple):
    """A data set.

    Attributes:
        name: Name in the tables.
        count: Photos to train on.
        classes: Number of classes.
        megabytes: Size of a file.
        seconds: CPU time of a crop of 512, decoding included.
    """

    name: str
    count: int
    classes: int
    megabytes: float
    seconds: float


MEASURED_CROP = 1 / 133.9
"""Seconds of a worker for a crop of a VOC photo of 500x375: benchmarks/RESULTS.md."""

DATA = (
    Photos("COCO 2014", 82_081, 80, 0.16, 1.36 * MEASURED_CROP),
    Photos("9 million photos", 9_000_000, 254, 0.3, 2.97 * MEASURED_CROP),
)
"""Files of COCO have 0.16 MB (13.5 GB of 82,783). For the other, photos of 1024x768, 0.3 MB are assumed, and as many
classes as pixel labels have room for. The factors are those that ``photos`` measured for 640x480 and 1024x768."""


def step_seconds(flops: float, machine: Machine, share: float) -> float:
    """Time of so much arithmetic at a share of the GPU's."""
    return flops / (machine.flops * share)


def sent_bytes(parameters: int, gpus: int) -> float:
    """What each GPU sends in a ring all-reduce of float32 gradients: 2 (n - 1) / n of them."""
    return 2 * (gpus - 1) / gpus * 4 * parameters


def reduce_seconds(parameters: int, gpus: int, machine: Machine) -> float:
    """Time of that ring on its slowest link, without latency: one ring crosses each node's network card once."""
    slowest = machine.inside if gpus <= machine.gpus else machine.between
    return sent_bytes(parameters, gpus) / slowest


def label_bytes(photos: int, classes: int) -> int:
    """The (n, k) matrix, a byte for each label."""
    return photos * classes


def steps_per_epoch(photos: int, gpus: int, crops: int) -> int:
    """Whole steps."""
    return photos // (gpus * crops)


def loader_cores(seconds: float, gpu_seconds: float) -> float:
    """CPU cores that keep one GPU busy, from the time of a crop on each."""
    return seconds / gpu_seconds


def gpu_bytes(parameters: int, per_crop: float, crops: int) -> float:
    """Weights, gradients and AdamW's two moments in float32, and what a step needs for each crop."""
    return 4 * 4 * parameters + per_crop * crops


def crop_seconds(folder: Path, sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """CPU seconds to decode a JPEG and to cut a crop, by size of the photo; photos of a folder resized to it."""
    cv2.setNumThreads(1)
    cut, found = TrainTransform(CropSettings(CROP)), {}
    paths = sorted(folder.rglob("*.jpg"))[:40]
    for size in sizes:
        files = []
        for path in paths:
            stream = io.BytesIO()
            Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
            files.append(stream.getvalue())
        times = []
        for _ in range(5):
            start = time.thread_time()
            for seed, file in enumerate(files):
                cut(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), seed)
            times.append((time.thread_time() - start) / len(files))
        found[size] = median(times)
    return found


def read_counts(path: Path) -> dict[str, dict[str, float]]:
    """What ``count`` wrote, by backbone and name."""
    found: dict[str, dict[str, float]] = {}
    for backbone, name, value in csv.reader(path.read_text(encoding="utf-8").splitlines()):
        found.setdefault(backbone, {})[name] = float(value)
    return found


def span(values: Iterable[float], digits: int = 2) -> str:
    """Lowest and highest value, in so many digits."""
    ordered = sorted(values)
    low, high = (f"{one:,.{max(0, digits - 1 - math.floor(math.log10(one)))}f}" for one in (ordered[0], ordered[-1]))
    return low if low == high else f"{low} to {high}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def step_table(counts: Counts) -> str:
    """GPU time of a step."""
    rows = []
    for backbone, found in counts.items():
        for phase in PHASES:
            times = [step_seconds(found[phase], MACHINE, share) for share in SHARES]
            step, rate = span(1000 * CROPS_PER_GPU * one for one in times), span(1 / one for one in times)
            rows.append([backbone, phase, f"{found[phase] / 1e9:.0f}", step, rate])
    return table(["backbone", "phase", "GFLOP per crop", "step of 8 crops, ms", "crops/s of a GPU"], rows)


def loader_table(counts: Counts) -> str:
    """What keeps the GPUs of a node busy, and what loaders deliver."""
    rows = []
    for backbone, found in counts.items():
        for phase in PHASES:
            times = [step_seconds(found[phase], MACHINE, share) for share in SHARES]
            for photos in DATA:
                cores = span(loader_cores(photos.seconds, one) for one in times)
                rate = span(MACHINE.gpus * photos.megabytes / one for one in times)
                delivered = [f"{workers / photos.seconds:.0f}" for workers in (WORKERS, MACHINE.cores)]
                rows.append([backbone, phase, photos.name, cores, rate, *delivered])
    head = ["backbone", "phase", "data", "cores per GPU", "MB/s per node"]
    return table([*head, f"crops/s of {WORKERS} workers", f"of {MACHINE.cores}"], rows)


def reduce_table(counts: Counts) -> str:
    """Gradient traffic, and its share of the shortest step."""
    rows = []
    for backbone, found in counts.items():
        parameters = int(found["parameters"])
        shortest = CROPS_PER_GPU * step_seconds(found["first phase"], MACHINE, max(SHARES))
        for gpus in GPUS:
            seconds = reduce_seconds(parameters, gpus, MACHINE)
            sent, share = f"{sent_bytes(parameters, gpus) / 1e6:.0f}", f"{seconds / shortest:.0%}"
            rows.append([backbone, f"{parameters / 1e6:.1f}", str(gpus), sent, f"{1000 * seconds:.2g}", share])
    head = ["backbone", "parameters, million", "GPUs", "sent by each GPU, MB", "time, ms", "of the shortest step"]
    return table(head, rows)


def epoch_table(found: Mapping[str, float]) -> str:
    """Epochs of each data set in the last phase, and their labels."""
    rows = []
    for photos in DATA:
        for gpus in GPUS:
            steps = steps_per_epoch(photos.count, gpus, CROPS_PER_GPU)
            seconds = [steps * CROPS_PER_GPU * step_seconds(found["last phase"], MACHINE, share) for share in SHARES]
            labels, minutes = label_bytes(photos.count, photos.classes) / 1e9, span(one / 60 for one in seconds)
            crops = f"{gpus * CROPS_PER_GPU:,}"
            rows.append([photos.name, str(gpus), crops, f"{steps:,}", minutes, f"{labels:.2g}"])
    head = ["data", "GPUs", "crops per step", "steps per epoch", "epoch, minutes", "(n, k) labels, GB per process"]
    return table(head, rows)


def memory_table(found: Mapping[str, float], per_crop: Mapping[str, float]) -> str:
    """Memory of a GPU by crops of a step, float32."""
    rows = []
    for crops in (8, 16, 32, 64):
        cells = [gpu_bytes(int(found["parameters"]), per_crop[phase], crops) / 1e9 for phase in PHASES]
        rows.append([str(crops), *(f"{cell:.0f}" for cell in cells)])
    return table(["crops of 512 per GPU", *(f"{phase}, GB" for phase in PHASES)], rows)


def crop_bytes(path: Path) -> dict[str, float]:
    """Memory of a step for each crop of 512, by phase, as ``cost.csv`` has it for four."""
    rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    found = {row[2].removesuffix(", MiB"): float(row[3]) * 2**20 / 4 for row in rows if row[:2] == ["crop", str(CROP)]}
    return {phase: found[phase] for phase in PHASES}


def all_tables(folder: Path) -> list[str]:
    """The tables of docs/scaling.md, from ``scaling.csv`` and ``cost.csv``."""
    counts = read_counts(folder / "scaling.csv")
    first, per_crop = next(iter(counts.values())), crop_bytes(folder / "cost.csv")
    parts = [step_table(counts), loader_table(counts), reduce_table(counts)]
    return [*parts, memory_table(first, per_crop), epoch_table(first)]


def main() -> None:
    """Runs the job that the first argument names; see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("count", "photos", "tables"))
    parser.add_argument("words", nargs="*")
    settings, here = parser.parse_args(), Path(__file__).parent
    write = Console(highlight=False, soft_wrap=True, markup=False).print
    match settings.what:
        case "count":
            for backbone in settings.words:
                for name, value in counted(backbone, crop=CROP, classes=CLASSES).items():
                    write(f"{backbone},{name},{value:.0f}")
        case "photos":
            for size, seconds in crop_seconds(Path(settings.words[0]), ((500, 375), (640, 480), (1024, 768))).items():
                write(f"{size[0]}x{size[1]}: {1000 * seconds:.2f} ms")
        case "tables":
            write("\n\n".join(all_tables(here)))


if __name__ == "__main__":
    main()
