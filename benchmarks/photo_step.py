"""A training step of ``experiment=photos`` on a CPU and its parts, with and without the memory that steps free.

    python -m benchmarks.photo_step --threads 2

Each way runs in a process of its own, since how the C library keeps memory cannot be taken back. Weights are random:
they change no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from afa_wsss.api import photo_recipe
from afa_wsss.losses import AffinityLoss, ClassificationLoss, SegmentationLoss
from afa_wsss.models import AFA, create_model
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import PAR, AFALabels
from afa_wsss.supervision.candidates import look_at_candidates
from afa_wsss.supervision.maps import Maps
from afa_wsss.training.freed_memory import keep_freed_memory
from afa_wsss.training.optim import OptimizerSettings, afa_optimizer
from afa_wsss.types import AFAOutput, Batch, Targets

CROP, PHOTOS, CLASSES = 256, 16, 6
FIRST, WALK = 1, 10
"""Steps of the labels from the CAM and from the walk; only their order matters."""


def batch() -> Batch:
    """Random photos with one or two classes each, whole crops."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (PHOTOS, 3, CROP, CROP), generator=draw, dtype=torch.uint8)
    labels = torch.zeros(PHOTOS, CLASSES)
    labels[torch.arange(PHOTOS), torch.arange(PHOTOS) % CLASSES] = 1
    labels[::3, -1] = 1
    boxes = torch.tensor([[0, CROP, 0, CROP]] * PHOTOS)
    return Batch(images, labels, boxes, ("",) * PHOTOS, None, 2, full_frames=False)


class Step:
    """The parts of a step; each ends with what the next one needs."""

    def __init__(self) -> None:
        """Network, labels, losses and optimizer of the recipe."""
        torch.manual_seed(0)
        backbone = "tf_efficientnet_lite0"
        self.network: AFA = create_model(backbone, num_classes=CLASSES, pretrained=None, pooling="average").train()
        refinement = PAR(dilations=tuple(photo_recipe.dilations(CROP)))
        scales, radius = tuple(photo_recipe.cam_scales(CROP)), photo_recipe.radius(CROP)
        self.labels = AFALabels(
            radius=radius, cam_scales=scales, first_step=FIRST, walk_first_step=WALK, refinement=refinement
        )
        self.terms = {"classification": ClassificationLoss(), "segmentation": SegmentationLoss(weight=0.5)}
        self.affinity = AffinityLoss(weight=1.0)
        self.optimizer = afa_optimizer(self.network, OptimizerSettings(lr=1e-4, norm_lr_factor=1.0))
        self.batch = batch()
        self.images = normalize(self.batch.images)

    def forward(self, *, decoded: bool = True) -> AFAOutput:
        """All branches, or all but the decoder, with gradient."""
        output: AFAOutput = self.network(self.images, decoded=decoded)
        return output

    def class_loss(self, output: AFAOutput) -> torch.Tensor:
        """The class loss alone."""
        return self.terms["classification"](output, Targets.of(self.batch))

    def all_losses(self, output: AFAOutput, targets: Targets) -> torch.Tensor:
        """Classes, pixels and affinity."""
        pixels = 0.5 * self.terms["segmentation"](output, targets)
        return self.class_loss(output) + pixels + self.affinity(output, targets)

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients and update."""
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        self.optimizer.step()
        self.optimizer.zero_grad()

    def maps(self, output: AFAOutput) -> Maps:
        """Class activation maps and affinity for the labels."""
        return self.labels.maps(self.network, self.batch, self.images, output)

    def targets(self, maps: Maps, step: int) -> Targets:
        """Pixel labels and affinity labels."""
        return self.labels.targets_from(maps, self.batch, grid=self.network.grid(CROP, CROP), step=step)


def parts(rounds: int) -> dict[str, float]:
    """Median seconds of each part, after a first round."""
    step, seconds = Step(), dict[str, list[float]]()

    def timed(name: str, part: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = part()
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result

    for _ in range(rounds + 1):
        output = timed("forward without decoder", lambda: step.forward(decoded=False))
        timed("class loss, backward, update", lambda output=output: step.backward(step.class_loss(output)))
        output = timed("forward", step.forward)
        maps = timed("maps for labels", lambda output=output: step.maps(output))
        with torch.no_grad():
            targets = timed("labels from the CAM", lambda maps=maps: step.targets(maps, FIRST))
            timed("labels from the walk", lambda maps=maps: step.targets(maps, WALK))
            walk = step.labels.walk_on(maps.grid)
            for name, chosen in (("CAM", None), ("walk", walk)):
                look = partial(look_at_candidates, maps, step.batch, refinement=step.labels.refinement, walk=chosen)
                timed(f"a look of auto at the {name}", look)
        timed("all losses, backward, update", lambda o=output, t=targets: step.backward(step.all_losses(o, t)))
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def main() -> None:
    """Measures both ways, or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=("kept", "returned"), help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.way is not None:
        torch.set_num_threads(settings.threads)
        if settings.way == "kept" and not keep_freed_memory():
            sys.exit("error: need glibc and none of its variables set, to keep freed memory")
        sys.stdout.write(json.dumps(parts(settings.rounds)) + "\n")
        return
    words = [sys.executable, "-m", "benchmarks.photo_step", "--rounds", str(settings.rounds)]
    words += ["--threads", str(settings.threads), "--way"]
    ways = {}
    for way in ("returned", "kept"):
        done = subprocess.run([*words, way], check=True, capture_output=True, text=True)
        ways[way] = json.loads(done.stdout.splitlines()[-1])
    table = Table("part", "memory returned, s", "memory kept, s")
    for name, kept in ways["kept"].items():
        table.add_row(name, f"{ways['returned'][name]:.2f}", f"{kept:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
