"""Where a training step spends its time: seconds of its parts, the textbook's in float32 beside this package's.

    python -m benchmarks.parts --crop 512
    python -m benchmarks.parts --crop 512 --device cuda --precision bf16 --compile

MiT-B1, batches of 4 with two classes per photo, last phase. The loader's part is the time of one process for a batch;
in training, workers load beside the step. Both ways take turns, and the median of the rounds counts; on a GPU the clock
waits for each part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from torch.utils.data import DataLoader

from afa_wsss.data import CropSettings, VOCDataset
from afa_wsss.data.loading.sets import TrainSet, collate
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.ops.image import normalize
from afa_wsss.supervision.maps import make_maps
from afa_wsss.types import Batch
from benchmarks.__main__ import line
from benchmarks.cost import write_index
from benchmarks.loader import TextbookSet
from benchmarks.stages import (
    CPU,
    SCALES,
    label_maker,
    make_windows,
    module_of,
    network,
    optimizer_of,
    photos,
    training_batch,
)
from benchmarks.textbook import network as textbook_network
from benchmarks.textbook import step as textbook

PARTS = ("loader", "forward", "CAM passes", "labels", "losses and backward", "optimizer")
COLUMNS = ("part", "textbook, s", "share", "ours, s", "share", "times as fast")
BATCH = 4
Seconds = dict[str, float]
Part = Callable[[str], AbstractContextManager[None]]


class Clock:
    """Seconds of the parts of one step."""

    def __init__(self, device: torch.device) -> None:
        """Starts without any part."""
        self.device, self.seconds = device, Seconds()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times the block inside, until the device has finished it."""
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def textbook_step(batch: Batch) -> Callable[[Part], None]:
    """A step of the textbook."""
    model = network().to(batch.images.device)
    optimizer = optimizer_of(model)
    make_windows(model, *batch.images.shape[-2:], batch.images.device)

    def step(part: Part) -> None:
        with part("forward"):
            output = textbook_network.forward(model, normalize(batch.images))
        with part("CAM passes"):
            maps = textbook.make_maps(model, batch)
        with part("labels"):
            pixels, pairs = textbook.make_labels(model, batch, *maps)
        with part("losses and backward"):
            optimizer.zero_grad()
            textbook.total_loss(output, batch.image_labels, pixels, pairs).backward()
        with part("optimizer"):
            optimizer.step()

    return step


def own_step(batch: Batch, *, half: bool, compiled: bool) -> Callable[[Part], None]:
    """A step of this package: what ``AFAModule.training_step`` does, part by part."""
    device = batch.images.device
    model = network().to(device)
    terms, optimizer, maker = module_of(model).to(device).losses, optimizer_of(model), label_maker()
    height, width = model.grid(*batch.images.shape[-2:])
    if compiled:
        model.encoder.compile(dynamic=False)

    def step(part: Part) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            with part("forward"):
                images = normalize(batch.images)
                output = model(images)
            with part("CAM passes"):
                maps = make_maps(model, batch, images, output, scales=SCALES)
            with part("labels"):
                made = maker.targets_from(maps, batch, grid=(height, width), step=0)
            with part("losses and backward"):
                optimizer.zero_grad()
                sum(term.weight * term(output, made) for term in terms.values()).backward()
        with part("optimizer"):
            optimizer.step()

    return step


@contextmanager
def loaders(crop: int) -> Iterator[tuple[Iterator[Any], Iterator[Any]]]:
    """Many batches of photos of 500 x 375, loaded in this process: the textbook's way and ours."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "VOC2012"
        write_index(root, BATCH)
        Image.fromarray(photos(1, 375, 500)[0].permute(1, 2, 0).numpy()).save(root / "photo.jpg")
        dataset = VOCDataset(root, "train")
        keys = [(epoch, index) for epoch in range(100) for index in range(BATCH)]
        theirs: Any = DataLoader(TextbookSet(dataset, crop), sampler=keys, batch_size=BATCH)
        crops = TrainSet(dataset, TrainTransform(CropSettings(crop)), seed=0)
        ours: Any = DataLoader(crops, sampler=keys, batch_size=BATCH, collate_fn=collate)
        yield iter(theirs), iter(ours)


def measure(crop: int, rounds: int, device: torch.device, *, half: bool, compiled: bool) -> tuple[Seconds, Seconds]:
    """Median seconds of each part, the textbook's and ours, after a warm-up round."""
    batch = training_batch(crop)
    batch = batch._replace(**{name: getattr(batch, name).to(device) for name in ("images", "image_labels", "boxes")})
    steps = textbook_step(batch), own_step(batch, half=half, compiled=compiled)
    clocks: tuple[list[Seconds], list[Seconds]] = [], []
    with loaders(crop) as batches:
        for _ in range(rounds + 1):
            for step, loader, seconds in zip(steps, batches, clocks, strict=True):
                clock = Clock(device)
                with clock.part("loader"):
                    next(loader)
                step(clock.part)
                seconds.append(clock.seconds)
    theirs, ours = ({name: median(one[name] for one in seconds[1:]) for name in PARTS} for seconds in clocks)
    return theirs, ours


def rows(theirs: Seconds, ours: Seconds) -> Iterator[list[str]]:
    """A row for each part, and one for the step without the loader; shares are of that step."""
    parts = {name: (theirs[name], ours[name]) for name in PARTS}
    step = tuple(sum(seconds[name] for name in PARTS[1:]) for seconds in (theirs, ours))
    for name, pair in (parts | {"step without loader": step}).items():
        cells = [
            cell for own, all_ in zip(pair, step, strict=True) for cell in (f"{own:.3g}", f"{100 * own / all_:.0f} %")
        ]
        yield [name, *cells, f"{pair[0] / pair[1]:.1f}"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", type=torch.device, default=CPU)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of this package's step")
    parser.add_argument("--compile", action="store_true", help="this package's encoder")
    settings = parser.parse_args()
    if settings.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("need a GPU for --device cuda, torch sees none; leave it out")
    half, name = settings.precision == "bf16", settings.device.type
    name = torch.cuda.get_device_name(settings.device) if name == "cuda" else f"{torch.get_num_threads()} threads"
    compiled = ", compiled" if settings.compile else ""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"torch {torch.__version__}, {name}; crop {settings.crop}, ours in {settings.precision}{compiled}")
    found = measure(settings.crop, settings.rounds, settings.device, half=half, compiled=settings.compile)
    console.print("\n".join(line(cells) for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows(*found))))


if __name__ == "__main__":
    main()
