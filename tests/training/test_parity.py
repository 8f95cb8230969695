"""Eight steps of the real module, optimizer, schedule and Trainer, beside the record of the official training.

Both start from the golden weights and see one fixed batch, without dropout and dropped paths. The settings are those of
``experiment=voc12_official``, with the record's own schedule, thresholds and size of backbone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import lightning
import numpy as np
import pytest
import torch
from tests.commands import composed
from tests.reference_network import reference_network
from torch.utils.data import DataLoader

from afa_wsss.api.prepare import make_module
from afa_wsss.api.settings import TrainSettings
from afa_wsss.cli import shell
from afa_wsss.models import build_model
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD, normalize
from afa_wsss.training.callbacks import Checkpoints
from afa_wsss.training.module import AFAModule
from afa_wsss.training.terms import active_terms
from afa_wsss.training.trainer import training_trainer
from afa_wsss.types import Batch

CLASSES = 20
COLUMNS = {"classification": "cls_loss", "segmentation": "seg_loss", "affinity": "affinity_loss"}
"""Our terms and the record's columns; the record knows no other term."""

LOSS_TOLERANCE, NORM_TOLERANCE = 1e-3, 2e-3
"""Relative. On the machine where the test was written the largest differences are 2e-7 and 5e-7."""


class Step(NamedTuple):
    """What the record holds of a step; losses are those that were logged, where the step had them."""

    values: dict[str, float]
    label: np.ndarray
    pairs: tuple[int, int]


class WatchedModule(AFAModule):
    """Keeps what the losses compare. In the first phase, too, the record holds what labels there would have been."""

    def supervise(self, batch, images, output, terms):
        targets = super().supervise(batch, images, output, terms)
        self.compared = output, targets
        if targets.pseudo_label is None:
            first = self.label_maker.first_step
            with patch.object(AFAModule, "global_step", first):
                self.compared = output, super().supervise(batch, images, output, active_terms(self.losses, first))
        return targets


class Watch(lightning.Callback):
    """Reads gradients before each step and what was logged after it."""

    def __init__(self):
        self.steps: list[Step] = []
        self.values: dict[str, float] = {}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        output, targets = pl_module.compared
        losses = {COLUMNS[name]: float(term(output, targets).detach()) for name, term in pl_module.losses.items()}
        self.values = losses | {f"gradnorm_{name}": norm(part) for name, part in parts(pl_module, optimizer).items()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        _, targets = pl_module.compared
        active = {
            COLUMNS[name]: f"train/{name}_loss" for name in COLUMNS if pl_module.losses[name].is_active(batch_idx)
        }
        logged = {column: float(trainer.callback_metrics[key]) for column, key in active.items()}
        total = {"total": float(trainer.callback_metrics["train/loss"])}
        pairs = int((targets.affinity_label == 1).sum()), int((targets.affinity_label == 0).sum())
        self.steps.append(Step(self.values | logged | total, targets.pseudo_label.numpy(), pairs))


def parts(module, optimizer):
    """Parameters by the record's columns, whose backbone is three groups of ours."""
    groups = {group["name"]: list(group["params"]) for group in optimizer.param_groups}
    decoder = list(module.network.segmentation_head.parameters())
    backbone = groups["backbone"] + groups["attention_logits"]
    others = [parameter for parameter in groups["heads"] if all(parameter is not own for own in decoder)]
    names = ("backbone", "backbone_norm", "classifier_and_affinity", "decoder")
    return dict(zip(names, (backbone, groups["norms"], others, decoder), strict=True))


def norm(parameters):
    return math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in parameters))


def settings_of_record(record, *words) -> TrainSettings:
    """Steps count from 0 in both; the record names the last step of a phase, the settings the first of the next."""
    low, high = record["thresholds"]
    return composed(
        "experiment=voc12_official",
        "model=mit_b0",
        "model.pretrained=null",
        "model.dropout=0",
        "model.drop_path_rate=0",
        f"supervision.low={low}",
        f"supervision.high={high}",
        f"supervision.radius={record['radius']}",
        f"supervision.first_step={record['aux_after_step'] + 1}",
        f"supervision.walk_first_step={record['walk_after_step'] + 1}",
        f"inference.cam_scales={record['scales'].tolist()}",
        f"optimizer.lr={record['lr']}",
        f"scheduler.warmup_steps={record['warmup_steps']}",
        f"trainer.max_steps={record['max_steps']}",
        "trainer.accelerator=cpu",
        *words,
    ).settings


def watched_module(settings) -> WatchedModule:
    """The module of a run, without a data set, and with the terms that the record has."""
    network = build_model(settings.model, CLASSES)
    network.load_state_dict(reference_network().state_dict())
    names, palette = [str(index) for index in range(CLASSES)], np.zeros((CLASSES + 1, 3), dtype=np.uint8)
    losses = {name: settings.loss[name] for name in COLUMNS}
    with patch("afa_wsss.api.prepare.AFAModule", WatchedModule):
        return make_module(replace(settings, loss=losses), network, class_names=names, palette=palette)


def train(record, *words) -> list[Step]:
    """One entry per step of the Trainer."""
    settings, watch = settings_of_record(record, *words), Watch()
    shell.quiet_libraries()
    with TemporaryDirectory() as folder:
        _fit(settings, watch, record, Path(folder))
    return watch.steps


def photos(images):
    """The photos that were normalized: the record has no others."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * std + mean).round().to(torch.uint8)


def _fit(settings, watch, record, folder):
    callbacks = [watch, Checkpoints(str(folder))]
    trainer = training_trainer(settings.trainer, callbacks=callbacks, loggers=[], folder=folder, validate=False)
    images, image_labels, boxes = (torch.from_numpy(record[name]) for name in ("inputs", "image_labels", "box"))
    batch = Batch(photos(images), image_labels, boxes, names=("a", "b"))
    batches = DataLoader([batch] * int(record["max_steps"]), batch_size=None)
    trainer.fit(watched_module(settings), batches, val_dataloaders=[])


@pytest.fixture(scope="module")
def record(golden):
    return dict(golden("training"))


@pytest.fixture(scope="module")
def columns(record):
    """The record by the names of its columns, each over the steps."""
    return dict(zip(record["record_columns"].tolist(), record["record"].T, strict=True))


@pytest.fixture(scope="module")
def steps(record):
    torch.manual_seed(0)
    return train(record)


def ours(steps, name):
    return np.array([step.values[name] for step in steps])


def assert_close(found, expected, tolerance):
    """Where the official code gave NaN, for want of a confident foreground, there is nothing to compare with."""
    assert np.isfinite(found).all()
    known = np.isfinite(expected)
    np.testing.assert_allclose(found[known], expected[known], rtol=tolerance, atol=1e-7)


def test_the_batch_is_that_of_the_record(record):
    images = torch.from_numpy(record["inputs"])
    torch.testing.assert_close(normalize(photos(images)), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [*COLUMNS.values(), "total"])
def test_losses(steps, columns, name):
    assert_close(ours(steps, name), columns[name], LOSS_TOLERANCE)


@pytest.mark.parametrize("name", ["backbone", "backbone_norm", "classifier_and_affinity", "decoder"])
def test_gradient_norms(steps, columns, name):
    assert_close(ours(steps, f"gradnorm_{name}"), columns[f"gradnorm_{name}"], NORM_TOLERANCE)


def test_labels_of_pixels(steps, record):
    equal = [(step.label == label).mean() for step, label in zip(steps, record["targets"], strict=True)]
    assert min(equal) >= 0.999


def test_counts_of_pairs(steps, record):
    np.testing.assert_allclose([step.pairs for step in steps], record["pair_counts"], rtol=1e-3)


def test_the_phases(steps, record):
    """Class loss alone, then all three; the record's second row equals its first, so its first step moved nothing."""
    assert len(steps) == record["max_steps"]
    alone = [step.values["total"] == pytest.approx(step.values["cls_loss"]) for step in steps]
    assert alone == [index <= record["aux_after_step"] for index in range(len(steps))]
    changed = [(one.label != after.label).any() for one, after in pairwise(steps)]
    assert changed == [False] + [True] * (len(steps) - 2)


def test_no_confident_foreground_is_no_nan(record):
    """Background scores so high that no pixel is foreground: the official code divides by 0 here."""
    steps = train(record, "supervision.low=0.9", "supervision.high=1.0", "trainer.max_steps=4")
    assert not any((step.label % 255).any() for step in steps)
    assert np.isfinite([list(step.values.values()) for step in steps]).all()
