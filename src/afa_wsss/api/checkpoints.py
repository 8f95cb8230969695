"""The one way from a checkpoint to a model: ours, or one of the official code; code in the file never runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from afa_wsss.api.assemble import assemble, convert
from afa_wsss.api.recipes import recipe_file
from afa_wsss.api.settings import RunSettings, check_backbone
from afa_wsss.api.upgrade import upgraded
from afa_wsss.data.files.value_range import RangeSetting, check_range
from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES, voc_palette
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.inference import InferenceSettings
from afa_wsss.losses import LossTerm
from afa_wsss.models import AFA, ModelSettings
from afa_wsss.models.create import build_model
from afa_wsss.models.reference import is_reference_checkpoint, read_reference_checkpoint
from afa_wsss.models.weights.files import load_strictly
from afa_wsss.supervision import LabelMaker
from afa_wsss.training.callbacks.plain_config import CONFIG_KEY
from afa_wsss.training.finite_steps import first_not_finite
from afa_wsss.training.module import THRESHOLDS_KEY
from afa_wsss.training.run_files import is_whole
from afa_wsss.training.whole_checkpoints import write_checkpoint


class Checkpoint(NamedTuple):
    """What is used of a checkpoint.

    Attributes:
        source: Path of the file.
        config: All settings of the run as plain data.
        class_names: Foreground classes.
        palette: (k + 1, 3) colors, background first.
        weights: Tensors of the network by name.
        class_thresholds: Probability of the class branch with the best F1 in the last validation, by class; classes
            without held-out photos have none.
        label_memory: Tensors by name of what the label maker learned in training; empty where it learns nothing.
        steps: How many the run had trained; None where the file does not say.
    """

    source: str
    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    palette: NDArray[np.uint8]
    weights: dict[str, Tensor]
    class_thresholds: Mapping[str, float] = {}
    label_memory: Mapping[str, Tensor] = {}
    steps: int | None = None

    def settings(self) -> RunSettings:
        """Network, data, labels and inference of the run.

        Raises:
            UserError: For classes that cannot be imported or are of another kind.
        """
        return assemble(RunSettings, {field.name: self.config[field.name] for field in fields(RunSettings)})

    def network(self) -> AFA:
        """The network with its weights, in evaluation mode, on the CPU; needs none of the other classes of the run.

        Raises:
            UserError: For weights that do not fit, and a backbone that cannot be imported or is none.
        """
        with argument("model"):
            settings = assemble(ModelSettings, self.config["model"])
        check_backbone(settings)
        network = build_model(replace(settings, pretrained=None, gradient_checkpointing=False), len(self.class_names))
        load_strictly(network, self.weights, source=self.source)
        return network.eval()

    def losses(self) -> dict[str, LossTerm] | None:
        """The loss table of the run; None where the file has none, or a class of it cannot be imported here."""
        try:
            with argument("loss"):
                table: dict[str, Any] = convert(dict[str, LossTerm], self.config.get("loss"))
        except UserError as error:
            note = "warnings judge all, also what was not trained: the loss table of %s cannot be read here: %s"
            logging.getLogger(__name__).info(note, self.source, error)
            return None
        return table if table and all(isinstance(term, LossTerm) for term in table.values()) else None

    def inference(self) -> InferenceSettings:
        """Scales, mirror and refinement of the run."""
        with argument("inference"):
            return assemble(InferenceSettings, self.config["inference"])

    def max_side(self) -> int | None:
        """Longest side that the run's photos were shrunk to; None for none, as before there was such a setting."""
        with argument("data"):
            return DataSettings(max_side=self.config["data"].get("max_side")).max_side

    def value_range(self) -> RangeSetting:
        """The values of photos of more than 8 bits that the run took for black and white; ``auto`` for 8 bits."""
        with argument("data"):
            return check_range(self.config["data"].get("value_range", "auto"))

    def label_maker(self) -> LabelMaker:
        """The label maker of the run, with what it learned.

        Raises:
            UserError: For a class that cannot be imported or is none.
        """
        with argument("supervision"):
            maker: LabelMaker = convert(LabelMaker, self.config["supervision"])
            self.recall(maker)
            return maker

    def recall(self, maker: LabelMaker) -> None:
        """Gives a label maker with the run's settings what that of the run learned.

        Raises:
            UserError: Where it learned something else.
        """
        recall(maker, self.label_memory, source=self.source)


def recall(maker: LabelMaker, learned: Mapping[str, Tensor], *, source: str) -> None:
    """Gives a label maker what another one with the same settings learned; one that learns nothing takes nothing.

    Args:
        maker: The label maker.
        learned: Tensors of the other one's memory, by name.
        source: The file that they are from.

    Raises:
        UserError: Where the memories do not fit.
    """
    if maker.memory is None:
        return
    try:
        maker.memory.load_state_dict(dict(learned))  # its hooks may read what older versions stored
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise UserError(
            f"need a {type(maker).__name__} that can read what that of {source} learned, got: {why}",
            arguments=("supervision",),
        ) from error


def read_training_state(path: str) -> dict[str, Any]:
    """Everything in a checkpoint that training wrote.

    Raises:
        UserError: Where there is no such file, it is not one of ours, or its weights are not finite.
    """
    if not Path(path).is_file():
        raise UserError(f"need a checkpoint, found none at {path}", kind="missing")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"need a checkpoint of a training run, {path} cannot be read ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict) or CONFIG_KEY not in content or "state_dict" not in content:
        raise UserError(f"need a checkpoint of a training run, {path} holds no configuration")
    wrong = first_not_finite(content["state_dict"])
    if wrong is not None:
        raise UserError(
            f"need finite weights, {path} has others in {wrong}; take an earlier checkpoint, such as best.ckpt"
        )
    return content


def network_weights(state: Mapping[str, Any], prefix: str = "network.") -> dict[str, Tensor]:
    """The network's part of the module's weights, or that of another part."""
    return {key.removeprefix(prefix): value for key, value in state["state_dict"].items() if key.startswith(prefix)}


def read_checkpoint(path: str) -> Checkpoint:
    """Settings and weights of a checkpoint; for one of the official code the paper's settings stand in.

    Raises:
        UserError: For a file that is neither, and an official one of other classes than VOC's or COCO's.
    """
    if is_reference_checkpoint(path):
        return _official(path)
    state = read_training_state(path)
    config = upgraded(state[CONFIG_KEY])
    return Checkpoint(
        source=path,
        config=config,
        class_names=tuple(config["class_names"]),
        palette=np.asarray(config["palette"], dtype=np.uint8),
        weights=network_weights(state),
        class_thresholds=state.get(THRESHOLDS_KEY, {}),
        label_memory=network_weights(state, "label_memory."),
        steps=state.get("global_step"),
    )


def store_validation(path: Path, thresholds: Mapping[str, float], *, best_score: float | None, step: int) -> None:
    """Puts what the validation after training found into a checkpoint that it scored.

    One of another step stays as it is, and so does one that was cut off.

    Args:
        path: The checkpoint.
        thresholds: Of the classes.
        best_score: That of ``best.ckpt``, with which a run that goes on from here compares its own.
        step: Training steps of the weights that were validated.
    """
    if not is_whole(path):
        return
    state = read_training_state(str(path))
    if int(state["global_step"]) == step:
        state.get("callbacks", {}).get("Checkpoints", {})["best_score"] = best_score
        write_checkpoint({**state, THRESHOLDS_KEY: dict(thresholds)}, path)


_OFFICIAL = {
    len(VOC_CLASSES): ("voc12", {}, VOC_CLASSES),
    len(COCO_CLASSES): ("coco14", {"supervision": "afa_coco", "supervision/refinement": "par_coco"}, COCO_CLASSES),
}
"""Data, the files of conf/ that differ from the defaults of AFA's labels, and class names by the number of classes."""


def _official(path: str) -> Checkpoint:
    found = read_reference_checkpoint(path)
    if found.num_classes not in _OFFICIAL:
        raise UserError(
            f"need an official AFA checkpoint of 20 classes (VOC) or 80 (COCO), {path} has {found.num_classes}; to go "
            "on training with your own data, give it as the pretrained weights of a model"
        )
    data, differing, class_names = _OFFICIAL[found.num_classes]
    model = {"backbone": found.backbone, "decoder_width": found.decoder_width, "pretrained": None}
    config = {
        "name": Path(path).stem,
        "seed": 0,
        "model": model,
        "data": _recipe("data", data),
        "supervision": _supervision(differing),
        "inference": _recipe("inference", "paper"),
    }
    palette = voc_palette(len(class_names) + 1)
    return Checkpoint(path, config, class_names, palette, found.weights)


def _recipe(group: str, name: str) -> dict[str, Any]:
    """The values of a file of conf/, but for those that a command has to give."""
    content: dict[str, Any] = yaml.safe_load(recipe_file(group, name).read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key != "defaults" and value != "???"}


def _supervision(differing: Mapping[str, str]) -> dict[str, Any]:
    """Settings of AFA's labels and their refinement, from the files of conf/ that hold differences."""
    values = {group: _recipe(group, name) for group, name in differing.items()}
    refinement = {"_target_": "afa_wsss.supervision.PAR"} | values.get("supervision/refinement", {})
    own = {"_target_": "afa_wsss.supervision.AFALabels"} | values.get("supervision", {})
    return own | {"refinement": refinement}
