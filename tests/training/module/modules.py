"""A small module as tests train it."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import numpy as np

from afa_wsss.inference import InferenceSettings
from afa_wsss.losses import AffinityLoss, ClassificationLoss, SegmentationLoss
from afa_wsss.models import create_model
from afa_wsss.supervision import PAR, AFALabels
from afa_wsss.training import module as module_file
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import OptimizerSettings, SchedulerSettings, afa_optimizer, warmup_poly
from afa_wsss.training.terms import active_terms

FIRST, WALK = 2, 4
NAMES = ("cat", "dog")
STAGES = ("cam", "cam_par", "walk", "pseudo_label")
LABELS = AFALabels(
    radius=2, first_step=FIRST, walk_first_step=WALK, cam_scales=(1.0, 0.5), refinement=PAR(dilations=(1, 2), steps=2)
)
LOSSES = {
    "classification": ClassificationLoss(),
    "segmentation": SegmentationLoss(weight=0.1, first_step=FIRST),
    "affinity": AffinityLoss(weight=0.1, first_step=FIRST),
}


def make_module(losses=LOSSES, labels=LABELS, classes=2):
    return AFAModule(
        create_model("mit_nano", num_classes=classes, decoder_width=16),
        labels,
        deepcopy(losses),
        lambda network, others: afa_optimizer(network, OptimizerSettings(), others=others),
        partial(warmup_poly, settings=SchedulerSettings(), max_steps=10),
        class_names=NAMES[:classes],
        palette=np.zeros((classes + 1, 3), dtype=np.uint8),
        inference=InferenceSettings(),
    )


def supervise(module, batch):
    """The targets of the present step."""
    images = module_file.normalize(batch.images)
    terms = active_terms(module.losses, module.global_step)
    return module.supervise(batch, images, module.network(images), terms)


def at_step(monkeypatch, step):
    monkeypatch.setattr(AFAModule, "global_step", step)
