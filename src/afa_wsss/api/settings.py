"""Typed settings of what the package does; each field's type is the part that it configures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_type_hints

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from afa_wsss.api.assemble import convert
from afa_wsss.api.signatures import made_by_dataclass
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, argument, check_at_least_0
from afa_wsss.inference import InferenceSettings
from afa_wsss.losses import LossTerm
from afa_wsss.models import Encoder, ModelSettings
from afa_wsss.supervision import AFALabels, LabelMaker
from afa_wsss.training.optim import OptimizerSettings, SchedulerSettings
from afa_wsss.training.trainer import DeviceSettings, TrainerSettings

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class RunSettings:
    """What a checkpoint needs to be used again: network, data, labels, inference.

    Attributes:
        name: Title of the run.
        seed: Seed of weights, photos and crops.
        model: Backbone and branches.
        data: Photos, crops and batches.
        supervision: How image labels become targets.
        inference: Scales, mirror and refinement of the segmentation branch.
    """

    name: str = "run"
    seed: int = 0
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    supervision: LabelMaker = field(default_factory=AFALabels)
    inference: InferenceSettings = field(default_factory=InferenceSettings)

    def __post_init__(self) -> None:
        """Checks that a class named by the model or the data is of the right kind, before anything is called.

        Raises:
            UserError: For a backbone that is no ``Encoder``, and a data set that cannot be read as one.
        """
        with argument("model"):
            check_backbone(self.model)
        dataset = self.data.dataset
        if isinstance(dataset, partial) and not all(hasattr(dataset.func, name) for name in ("sample", "check_files")):
            raise UserError(
                f"need a data set as afa_wsss.data.SegmentationDataset describes it, got {dataset.func}",
                arguments=("data.dataset",),
            )


def check_backbone(model: ModelSettings) -> None:
    """Checks the class of a backbone of one's own before it is called: its name may come from a file.

    Raises:
        UserError: For a class that is no ``Encoder``.
    """
    kind = model.backbone.func if isinstance(model.backbone, partial) else None
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, Encoder)):
        raise UserError(f"need a subclass of afa_wsss.models.Encoder, got {kind}", arguments=("backbone",))


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """Everything that a training run is made of.

    Attributes:
        resume: ``last.ckpt`` of a run to go on with, or ``auto`` for the newest in ``output_dir``, if there is one.
        output_dir: Folder of the run.
        loss: Terms of the total loss by name.
        trainer: Steps, intervals, devices, precision.
        optimizer: Learning rates and weight decay.
        scheduler: Warm-up and decay of the learning rates.
        callbacks: Callbacks of Lightning by name, beside those that every run has.
        logger: Loggers of Lightning by name.
    """

    resume: str | None = None
    output_dir: str = "outputs"
    loss: dict[str, LossTerm] = field(default_factory=dict)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    callbacks: dict[str, Callback] = field(default_factory=dict)
    logger: dict[str, Logger] = field(default_factory=dict)


def changes(kind: type, *names: str) -> dict[str, Any]:
    """Metadata of a field for changes to a stored ``kind``: values by name, None and missing ones keep what is stored.

    Args:
        kind: A dataclass.
        names: Fields that may change; none for all.
    """
    return {"changes": kind, "names": names or tuple(one.name for one in fields(kind))}


DATA_CHANGES = changes(DataSettings, "root", "val_split", "max_side", "value_range", "eval_batch_size", "num_workers")
INFERENCE_CHANGES = changes(InferenceSettings)


@dataclass(frozen=True)
class EvaluateSettings:
    """What an evaluation needs beside the checkpoint.

    Attributes:
        checkpoint: File of a run, or of the official code.
        output_dir: Folder for scores, report and pictures.
        data: Other data than the checkpoint was trained with.
        inference: Other scales, mirror or refinement than the checkpoint's.
        trainer: Where to run.
        pictures: Held-out photos to draw; 0 for none.
    """

    checkpoint: str
    output_dir: str = "outputs/eval"
    data: dict[str, Any] = field(default_factory=dict, metadata=DATA_CHANGES)
    inference: dict[str, Any] = field(default_factory=dict, metadata=INFERENCE_CHANGES)
    trainer: DeviceSettings = field(default_factory=DeviceSettings)
    pictures: int = 12

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            UserError: For a number of pictures below 0.
        """
        check_at_least_0({"pictures": self.pictures})


@dataclass(frozen=True)
class ScoreSettings(EvaluateSettings):
    """Settings of ``evaluate``.

    Attributes:
        write_masks: Whether to write the predicted masks.
    """

    write_masks: bool = True


@dataclass(frozen=True)
class PseudoLabelSettings(EvaluateSettings):
    """Settings of ``pseudo_label``.

    Attributes:
        score: Whether to compare the pseudo labels with masks, which the photos must have then.
    """

    output_dir: str = "outputs/pseudo_labels"
    score: bool = False


@dataclass(frozen=True)
class PredictSettings:
    """Photos to label with a checkpoint.

    Attributes:
        checkpoint: File of a run, or of the official code.
        input: A photo or a folder of photos.
        output_dir: Folder for masks and overlays.
        data: Another longest side, ``max_side``, or range of values, ``value_range``, than the checkpoint's.
        inference: Other scales, mirror or refinement than the checkpoint's.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        overwrite: Whether to begin anew in a folder that is not empty; else a run goes on where it was stopped.
    """

    checkpoint: str
    input: str
    output_dir: str = "outputs/predict"
    data: dict[str, Any] = field(default_factory=dict, metadata=changes(DataSettings, "max_side", "value_range"))
    inference: dict[str, Any] = field(default_factory=dict, metadata=INFERENCE_CHANGES)
    device: str = "auto"
    overwrite: bool = False


def changed(settings: RunSettings, *, data: dict[str, Any], inference: dict[str, Any]) -> RunSettings:
    """``settings`` with changes to data and inference; None and missing values keep what is there.

    Scales of the CAMs are the label maker's where it has any.

    Raises:
        UserError: For scales of CAMs where the label maker has none.
    """
    maker, cam_scales = settings.supervision, inference.get("cam_scales")
    if cam_scales is not None and "cam_scales" not in _fields_of(maker):
        raise UserError(
            f"need a label maker with cam_scales, {type(maker).__name__} has none; leave cam_scales alone",
            arguments=("inference.cam_scales",),
        )
    with argument("data"):
        settings = replace(settings, data=with_changes(settings.data, data))
    with argument("inference"):
        settings = replace(settings, inference=with_changes(settings.inference, inference))
        if cam_scales is not None:
            maker = replace(maker, cam_scales=tuple(cam_scales))  # type: ignore[type-var]  # a dataclass
    return replace(settings, supervision=maker)


def _fields_of(maker: LabelMaker) -> tuple[str, ...]:
    """Names of the settings of a label maker; a property is none."""
    return tuple(one.name for one in fields(maker) if one.init) if made_by_dataclass(type(maker)) else ()  # type: ignore[arg-type]  # a dataclass


def with_changes(stored: Settings, values: Mapping[str, Any]) -> Settings:
    """``stored``, a dataclass, with the changes that are not None; the same for a dataclass inside it."""
    hints, kept = get_type_hints(type(stored)), dict[str, Any]()
    for name, value in values.items():
        if isinstance(value, Mapping) and is_dataclass(getattr(stored, name)):
            with argument(name):
                kept[name] = with_changes(getattr(stored, name), value)
        elif value is not None:
            kept[name] = convert(hints[name], value)
    return replace(stored, **kept)  # type: ignore[type-var]  # a dataclass


def given(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that are not None, as the fields of the dataclass ``kind`` want them."""
    hints = get_type_hints(kind)
    return {name: convert(hints[name], value) for name, value in values.items() if value is not None}
