"""Checkpoints of the official code beside our own: they hold weights alone, so the paper's recipe stands in."""

from __future__ import annotations

from hydra import compose
from omegaconf import OmegaConf
from torch import Tensor

from afa_wsss.cli import build
from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES, voc_palette
from afa_wsss.errors import UserError
from afa_wsss.models.weights.files import is_reference_checkpoint, read_reference_checkpoint

RECIPES = {len(VOC_CLASSES): ("voc12_mit_b1", VOC_CLASSES), len(COCO_CLASSES): ("coco14_mit_b1", COCO_CLASSES)}
"""Experiment and class names by the number of classes."""


def open_checkpoint(path: str) -> tuple[build.Plain, dict[str, Tensor]]:
    """Settings and weights of a checkpoint of ``afa-train``, or of one of the official code.

    The latter's settings are those of the experiment with as many classes; ``data.root`` is None there.

    Raises:
        UserError: For a file that is neither, or an official one of other classes than VOC's or COCO's.
    """
    if not is_reference_checkpoint(path):
        return build.load_checkpoint(path)
    found = read_reference_checkpoint(path)
    if found.num_classes not in RECIPES:
        raise UserError(
            f"need an official AFA checkpoint of 20 classes (VOC) or 80 (COCO), {path} has {found.num_classes}; "
            "train on from it with your own data: afa-train model.pretrained=..."
        )
    experiment, names = RECIPES[found.num_classes]
    settings = recipe(experiment)
    settings["model"] |= {"backbone": found.backbone, "decoder_width": found.decoder_width, "pretrained": None}
    settings |= {"class_names": list(names), "palette": voc_palette(len(names) + 1).tolist()}
    return settings, found.weights


def recipe(experiment: str) -> build.Plain:
    """All settings of an experiment but for the folder of its data, which the command has to give."""
    config = compose("train", overrides=[f"experiment={experiment}"])
    config.data.root = ""
    config.callbacks, config.logger = {}, {}  # they belong to a run
    settings: build.Plain = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]  # OmegaConf types any container
    settings["data"]["root"] = None
    return settings
