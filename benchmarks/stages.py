"""The stages that are compared, by name: each makes its inputs and gives both ways."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from afa_wsss.losses import AffinityLoss, ClassificationLoss, SegmentationLoss
from afa_wsss.models import AFA, create_model
from afa_wsss.ops import par
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import Supervision
from afa_wsss.training.maps import make_maps, make_targets
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import afa_optimizer, warmup_poly
from afa_wsss.types import AFAOutput, Batch
from benchmarks.measure import Ways
from benchmarks.textbook import par as textbook_par
from benchmarks.textbook import step as textbook

CLASSES, SCALES, CPU = 20, (1.0, 0.5, 1.5), torch.device("cpu")


def photos(count: int, height: int, width: int) -> Tensor:
    """Patches of colour with noise, uint8: smooth regions and edges, as photos have them."""
    coarse = F.interpolate(torch.rand(count, 3, 9, 9), size=(height, width), mode="nearest")
    return (255 * (0.9 * coarse + 0.1 * torch.rand(count, 3, height, width))).to(torch.uint8)


def training_batch(crop: int, count: int = 4, classes: int = CLASSES, *, full: bool = False) -> Batch:
    """Crops with two classes each; every second one is padded, unless all are to be ``full``."""
    labels = torch.zeros(count, classes)
    for row in range(count):
        labels[row, [row % classes, (row + 3) % classes]] = 1
    whole, padded = [0, crop, 0, crop], [crop // 8, crop, 0, crop - crop // 5]
    boxes = torch.tensor([whole if full or row % 2 == 0 else padded for row in range(count)])
    names = tuple(str(row) for row in range(count))
    return Batch(photos(count, crop, crop), labels, boxes, names, most_classes=2, full_frames=full)


def network(classes: int = CLASSES) -> AFA:
    """MiT-B1 with the rates of dropping that training has, and random weights."""
    torch.manual_seed(0)
    return create_model("mit_b1", classes).train()


def module_of(model: AFA, *, first_step: int = 0) -> AFAModule:
    """The real module in its last phase, or before ``first_step`` in its first, with nowhere to log to."""
    losses = {
        "classification": ClassificationLoss(),
        "segmentation": SegmentationLoss(0.1),
        "affinity": AffinityLoss(0.1),
    }
    module = AFAModule(
        model,
        Supervision(first_step=first_step, walk_first_step=first_step),
        losses,
        afa_optimizer,
        partial(warmup_poly, max_steps=100),
        class_names=[str(index) for index in range(model.num_classes)],
        palette=np.zeros((model.num_classes + 1, 3), dtype=np.uint8),
        cam_scales=SCALES,
        eval_scales=SCALES,
        eval_mirror=True,
    )
    module.log = module.log_dict = lambda *_, **__: None  # there is no Trainer that would log
    return module


def make_windows(model: AFA, height: int, width: int, device: torch.device = CPU) -> None:
    """Makes what the textbook makes once in a run, so that nobody counts it."""
    for grid in textbook.grids(model, height, width):
        textbook.window(grid, device)


def _largest(theirs: Tensor, ours: Tensor) -> str:
    return f"largest difference {float((theirs - ours).abs().max()):.1e}"


def _agreement(theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> str:
    least = min(float((one == other).double().mean()) for one, other in zip(theirs, ours, strict=True))
    return f"{100 * least:.3f} % of labels equal"


def par_steps(channels: int, side: int) -> Ways:
    """Ten steps, the kernel made before."""
    image, scores = photos(1, side, side) / 255, torch.rand(1, channels, side, side)
    with torch.no_grad():
        weights, kernel = textbook_par.kernel(image), par.neighbor_kernel(image)
    steps = torch.no_grad()(textbook_par.apply)
    return Ways(partial(steps, weights, scores), partial(par.apply_kernel, kernel, scores), _largest)


def par_whole(channels: int, side: int) -> Ways:
    """Kernel and ten steps."""
    image, scores = photos(1, side, side) / 255, torch.rand(1, channels, side, side)
    return Ways(partial(textbook_par.refine, image, scores), partial(par.refine, image, scores), _largest)


def label_making(crop: int) -> Ways:
    """Multi-scale CAM, walk, PAR for both kinds of label and both thresholds, affinity labels."""
    model, batch, supervision = network(), training_batch(crop), Supervision()
    make_windows(model, crop, crop)
    nothing = torch.zeros(0)  # the forward pass drops paths, so none of it is reused

    def ours() -> tuple[Tensor | None, ...]:
        maps = make_maps(model, batch, normalize(batch.images), AFAOutput(*[nothing] * 4), scales=SCALES)
        made = make_targets(
            supervision, batch, maps, grid=model.grid(crop, crop), step=10**6, classes=model.num_classes
        )
        return made[1:3]

    return Ways(lambda: textbook.make_targets(model, batch), ours, _agreement)


def training_step(crop: int) -> Ways:
    """Forward, labels, losses, backward, optimizer; both ways start from one network and drop the same paths."""
    model, batch = network(), training_batch(crop)
    other = copy.deepcopy(model)
    make_windows(model, crop, crop)
    module, optimizers = module_of(model), (afa_optimizer(other), afa_optimizer(model))

    def theirs() -> float:
        torch.manual_seed(0)
        return textbook.training_step(other, optimizers[0], batch)

    def ours() -> float:
        torch.manual_seed(0)
        loss = module.training_step(batch, 0)
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        return loss.item()

    return Ways(theirs, ours, lambda a, b: f"losses {a:.5f} and {b:.5f}")


def validation(height: int, width: int) -> Ways:
    """A photo: prediction over three scales and mirror, CAM, labels of all stages."""
    model = network().eval()
    batch = training_batch(64, count=1)._replace(images=photos(1, height, width), full_frames=True)
    batch = batch._replace(boxes=torch.tensor([[0, height, 0, width]]))
    make_windows(model, height, width)
    module = module_of(model).eval()

    def theirs() -> tuple[Tensor, ...]:
        prediction, _, _, stages = textbook.inspect(model, batch)
        return prediction, *stages

    def ours() -> tuple[Tensor, ...]:
        with torch.no_grad():
            found = module.inspect(batch)
        return found.prediction, *found.stages

    return Ways(theirs, ours, _agreement)


STAGES: dict[str, Callable[[], Ways]] = {
    "PAR, 10 steps, 1x3x512x512": partial(par_steps, 3, 512),
    "PAR, 10 steps, 1x21x256x256": partial(par_steps, 21, 256),
    "PAR with its kernel, 1x3x512x512": partial(par_whole, 3, 512),
    "PAR with its kernel, 1x21x256x256": partial(par_whole, 21, 256),
    "labels of a step, crop 320": partial(label_making, 320),
    "labels of a step, crop 512": partial(label_making, 512),
    "training step, crop 320": partial(training_step, 320),
    "training step, crop 512": partial(training_step, 512),
    "validation of a 500x375 photo": partial(validation, 375, 500),
}
"""MiT-B1 and batches of 4 where there is a network."""
