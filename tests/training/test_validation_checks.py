from __future__ import annotations

import math
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from afa_wsss.report.run import RunInfo
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.supervision import AFALabels
from afa_wsss.training.callbacks import ValidationChecks, Warnings
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch, Labels

NAMES, PHOTOS, GRID = ("cat", "dog"), 24, 10
RUN = RunInfo("run", NAMES, np.zeros((3, 3), np.uint8), ("cam", "segmentation"), (), {}, (), "")


class Module(AFAModule):
    """What the callbacks ask of a module."""

    device = torch.device("cpu")

    def __init__(self, radius: int | None = 8) -> None:
        torch.nn.Module.__init__(self)
        self.class_names, self.label_maker, self.logged = NAMES, AFALabels(radius=radius), {}

    def log_dict(self, values, **_):
        self.logged |= {name: value.item() for name, value in values.items()}


class Trainer(lightning.Trainer):
    """What the callbacks ask of a trainer."""

    callback_metrics = sanity_checking = is_global_zero = global_step = max_steps = None

    def __init__(self) -> None:
        self.callback_metrics, self.sanity_checking, self.is_global_zero = {}, False, True
        self.state, self.global_step, self.max_steps = SimpleNamespace(fn=TrainerFn.FITTING), 0, 100


def healthy() -> tuple[Batch, Inspection]:
    """Photos with a cat, a dog, both or none; branch and CAM find them, the affinity is spread."""
    image_labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]).repeat(PHOTOS // 4, 1)
    places = torch.zeros(PHOTOS, 2, GRID, GRID)
    places[:, 0, 3:6, 3:6] = places[:, 1, 5:8, 5:8] = 1
    cam = (places - 0.5) * 4 * image_labels[..., None, None] + 0.1 * torch.randn(places.shape)
    masks = (places * image_labels[..., None, None] * torch.tensor([1, 2])[:, None, None]).amax(dim=1).byte()
    affinity = torch.rand(PHOTOS, GRID**2, GRID**2)
    found = Inspection({}, {"segmentation": Labels(masks)}, cam.amax(dim=(2, 3)), affinity, (GRID, GRID), cam)
    boxes = torch.tensor([[0, GRID, 0, GRID]]).expand(PHOTOS, 4)
    names = tuple(str(index) for index in range(PHOTOS))
    photos = torch.zeros(PHOTOS, 3, GRID, GRID, dtype=torch.uint8)
    return Batch(photos, image_labels, boxes, names, full_frames=True), found


def measured(batch: Batch, found: Inspection, *, radius: int | None = 8) -> dict[str, float]:
    """What a validation of one batch logs."""
    module, checks = Module(radius), ValidationChecks()
    checks.on_validation_start(Trainer(), module)
    checks.on_validation_batch_end(Trainer(), module, [found], batch, 0)
    checks.on_validation_epoch_end(Trainer(), module)
    return module.logged


def kinds(batch: Batch, found: Inspection) -> list[tuple[str, tuple[str, ...]]]:
    """The warnings that follow from what validation measures."""
    photos = batch.image_labels.sum(dim=0).tolist()
    metrics = measured(batch, found) | {
        f"val/class_photos/{name}": count for name, count in zip(NAMES, photos, strict=True)
    }
    return [(warning.kind, warning.subjects) for warning in run_warnings(metrics, RUN)]


def test_healthy_photos_raise_no_warning():
    batch, found = healthy()
    metrics = measured(batch, found)
    assert metrics["val/photos"] == PHOTOS
    assert metrics["val/predicted_photos/cat"] == metrics["val/predicted_photos/dog"] == PHOTOS / 2
    assert metrics["val/inside_auc"] == metrics["val/inside_auc/dog"] == 100
    assert metrics["val/cam_border"] < 20
    assert metrics["val/affinity/mean"] == pytest.approx(0.5, abs=0.01)
    assert not any(math.isnan(value) for value in metrics.values())
    assert kinds(batch, found) == []


def test_each_measure_starts_anew_in_each_validation():
    batch, found = healthy()
    module, checks = Module(), ValidationChecks()
    for _ in range(2):
        checks.on_validation_start(Trainer(), module)
        checks.on_validation_batch_end(Trainer(), module, [found], batch, 0)
        checks.on_validation_epoch_end(Trainer(), module)
    assert module.logged["val/photos"] == PHOTOS


def test_pairs_beyond_the_radius_of_the_label_maker_do_not_count():
    batch, found = healthy()
    rows = torch.arange(GRID**2) // GRID
    far = (rows[:, None] - rows).abs() > 1
    flat = found._replace(affinity=torch.where(far, 1.0, 0.25).expand(PHOTOS, -1, -1))
    assert measured(batch, flat, radius=1)["val/affinity/mean"] == pytest.approx(0.25)
    assert measured(batch, flat, radius=None)["val/affinity/mean"] > 0.5


def test_a_branch_that_never_finds_a_class():
    batch, found = healthy()
    masks = found.branch["segmentation"].labels
    branch = {"segmentation": Labels(masks.masked_fill(masks == 2, 0))}
    assert kinds(batch, found._replace(branch=branch)) == [("never predicted", ("dog",))]


def test_a_branch_that_finds_a_class_everywhere():
    batch, found = healthy()
    masks = found.branch["segmentation"].labels.clone()
    masks[:, 0] = 1
    few = batch._replace(image_labels=batch.image_labels * (torch.arange(PHOTOS) < 20)[:, None])
    assert kinds(few, found._replace(branch={"segmentation": Labels(masks)})) == [("predicted everywhere", ("cat",))]


def test_cams_at_the_border():
    batch, found = healthy()
    cam = found.cam.clone()
    cam[:, 0] = -1.0
    cam[:, 0, :, 0] = 1.0 * batch.image_labels[:, :1]
    assert kinds(batch, found._replace(cam=cam)) == [("CAM at the border", ("cat",))]


def test_a_class_that_the_background_tells():
    batch, found = healthy()
    cam = found.cam.clone()
    cam[:, 1] = 2 * batch.image_labels[:, 1, None, None] + 0.5 * torch.rand(PHOTOS, GRID, GRID)
    assert kinds(batch, found._replace(cam=cam)) == [("recognized by the background", ("dog",))]


@pytest.mark.parametrize(("value", "end"), [(0.004, "0"), (0.998, "1")])
def test_a_saturated_affinity(value, end):
    batch, found = healthy()
    flat = torch.full_like(found.affinity, value)
    assert kinds(batch, found._replace(affinity=flat)) == [("affinity saturated", (end,))]


def said_at(trainer: Trainer, warn: Warnings, step: int, *names: str) -> None:
    """A validation after which classes are never predicted."""
    metrics = {"val/photos": 20.0} | {f"val/class_photos/{name}": 9.0 for name in NAMES}
    metrics |= {f"val/predicted_photos/{name}": 0.0 if name in names else 9.0 for name in NAMES}
    trainer.global_step = step
    trainer.callback_metrics = {name: torch.tensor(value) for name, value in metrics.items()}
    warn.on_validation_end(trainer, Module())


def test_a_warning_is_given_when_its_condition_changes():
    said: list[str] = []
    steps: list[int] = []
    warn, trainer = Warnings(lambda step: steps.append(step) or RUN, said.append), Trainer()
    for step, names in (
        (10, ()),
        (20, ("cat",)),
        (30, ("cat",)),
        (40, NAMES),
        (50, ("dog",)),
        (60, ()),
        (70, ("cat",)),
    ):
        said_at(trainer, warn, step, *names)
    assert [line.split(":")[0] for line in said] == ["step 20", "step 40", "step 70"]
    assert ["cat (9)" in line for line in said] == [True, True, True]
    assert ["dog (9)" in line for line in said] == [False, True, False]
    assert steps == [10, 20, 30, 40, 50, 60, 70]


def test_warnings_of_the_last_step_and_of_evaluations_are_left_to_the_summary():
    said: list[str] = []
    warn, trainer = Warnings(lambda _: RUN, said.append), Trainer()
    said_at(trainer, warn, 100, "cat")
    trainer.sanity_checking = True
    said_at(trainer, warn, 0, "cat")
    trainer.sanity_checking, trainer.is_global_zero = False, False
    said_at(trainer, warn, 10, "cat")
    trainer.is_global_zero, trainer.state.fn = True, TrainerFn.VALIDATING
    said_at(trainer, warn, 10, "cat")
    assert said == []
