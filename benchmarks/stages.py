"""The stages that are compared, by name: each makes its inputs and returns both ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from afa_wsss.inference import InferenceSettings, Views, multi_scale_logits, multi_scale_maps
from afa_wsss.losses import AffinityLoss, ClassificationLoss, SegmentationLoss
from afa_wsss.models import AFA, create_model
from afa_wsss.ops import par
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import OptimizerSettings, SchedulerSettings, afa_optimizer, warmup_poly
from afa_wsss.types import AFAOutput, Batch
from benchmarks.affinity import both_forms
from benchmarks.measure import Ways
from benchmarks.textbook import par as textbook_par
from benchmarks.textbook import step as textbook

CLASSES, SCALES, CPU = 20, (1.0, 0.5, 1.5), torch.device("cpu")


def photos(count: int, height: int, width: int) -> Tensor:
    """Patches of color with noise, uint8: smooth regions and edges, as in photos."""
    coarse = F.interpolate(torch.rand(count, 3, 9, 9), size=(height, width), mode="nearest")
    return (255 * (0.9 * coarse + 0.1 * torch.rand(count, 3, height, width))).to(torch.uint8)


def training_batch(crop: int, count: int = 4, classes: int = CLASSES, *, full: bool = False) -> Batch:
    """Crops with two classes each; every second one is padded, unless they are ``full``."""
    labels = torch.zeros(count, classes)
    for row in range(count):
        labels[row, [row % classes, (row + 3) % classes]] = 1
    whole, padded = [0, crop, 0, crop], [crop // 8, crop, 0, crop - crop // 5]
    boxes = torch.tensor([whole if full or row % 2 == 0 else padded for row in range(count)])
    names = tuple(str(row) for row in range(count))
    return Batch(photos(count, crop, crop), labels, boxes, names, most_classes=2, full_frames=full)


def network(classes: int = CLASSES) -> AFA:
    """MiT-B1 in training mode, with the default drop rates and random weights."""
    torch.manual_seed(0)
    return create_model("mit_b1", classes).train()


def optimizer_of(model: AFA, others: Iterable[nn.Parameter] = ()) -> Optimizer:
    """AdamW with the package's default settings."""
    return afa_optimizer(model, OptimizerSettings(), others=others)


def label_maker(*, first_step: int = 0) -> AFALabels:
    """AFA's label maker, with labels from the walk from ``first_step`` on."""
    return AFALabels(first_step=first_step, walk_first_step=first_step, cam_scales=SCALES)


def module_of(model: AFA, *, first_step: int = 0) -> AFAModule:
    """The LightningModule, without a Trainer: at step 0, in its last phase or, before ``first_step``, in its first."""
    losses = {
        "classification": ClassificationLoss(),
        "segmentation": SegmentationLoss(weight=0.1, first_step=first_step),
        "affinity": AffinityLoss(weight=0.1, first_step=first_step),
    }
    module = AFAModule(
        model,
        label_maker(first_step=first_step),
        losses,
        optimizer_of,
        partial(warmup_poly, settings=SchedulerSettings(), max_steps=100),
        class_names=[str(index) for index in range(model.num_classes)],
        palette=np.zeros((model.num_classes + 1, 3), dtype=np.uint8),
        inference=InferenceSettings(scales=SCALES, mirror=True),
    )
    module.log = module.log_dict = lambda *_, **__: None  # there is no Trainer that would log
    return module


def make_windows(model: AFA, height: int, width: int, device: torch.device = CPU) -> None:
    """Fills the textbook's cache of windows: it makes them once in a run, so they do not count."""
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
    """Multi-scale CAM, walk, PAR for both kinds of labels and both thresholds, affinity labels."""
    model, batch, maker = network(), training_batch(crop), label_maker()
    make_windows(model, crop, crop)
    # The forward pass drops paths, so its output is not reused and may be empty.
    output = AFAOutput(torch.zeros(0, 0), torch.zeros(0, 0, 0, 0), torch.zeros(0, 0, 0), torch.zeros(0, 0, 0, 0))

    def ours() -> tuple[Tensor | None, ...]:
        made = maker.targets(model, batch, normalize(batch.images), output, step=0)
        return made.pseudo_label, made.affinity_label

    return Ways(lambda: textbook.make_targets(model, batch), ours, _agreement)


def training_step(crop: int) -> Ways:
    """Forward, labels, losses, backward, optimizer; both ways start from one network and drop the same paths."""
    model, batch = network(), training_batch(crop)
    other = copy.deepcopy(model)
    make_windows(model, crop, crop)
    module, optimizers = module_of(model), (optimizer_of(other), optimizer_of(model))

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
        return tuple(shown.labels for shown in (*found.branch.values(), *found.stages.values()))

    return Ways(theirs, ours, _agreement)


def shared_views(height: int, width: int) -> Ways:
    """The paper's validation of a photo: prediction and CAM with passes of their own, and with passes they share."""
    model, images = network().eval(), normalize(photos(1, height, width))
    paper = InferenceSettings(scales=(0.5, 0.75, 1.0, 1.25, 1.5), mirror=True, cam_scales=SCALES)

    @torch.no_grad()
    def seen(sees: AFA | Views, output: AFAOutput) -> tuple[Tensor, Tensor]:
        logits = multi_scale_logits(sees, images, scales=paper.scales, mirror=paper.mirror, known=output)
        cam, _ = multi_scale_maps(sees, images, scales=paper.cam_scales, known=output)
        return logits, cam

    def shared() -> tuple[Tensor, Tensor]:
        views = Views(model, images, scales=paper.scales, mirror=paper.mirror, cam_scales=paper.cam_scales)
        return seen(views, views.output())

    def apart() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return seen(model, model(images))

    return Ways(apart, shared, lambda one, other: "; ".join(map(_largest, one, other)))


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
    "paper's validation of a 500x375 photo, passes apart and shared": partial(shared_views, 375, 500),
    "affinity loss and gradients, dense and window form, grid 32x32": partial(both_forms, "loss and gradients", 32),
    "affinity loss and gradients, dense and window form, grid 48x48": partial(both_forms, "loss and gradients", 48),
    "walk on the affinity, dense and window form, grid 32x32": partial(both_forms, "walk", 32),
    "walk on the affinity, dense and window form, grid 48x48": partial(both_forms, "walk", 48),
}
"""MiT-B1 and batches of 4 where there is a network. The last five compare two forms of this package."""
