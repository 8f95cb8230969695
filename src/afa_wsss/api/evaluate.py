"""Scores a checkpoint and writes masks and pictures; or writes the pseudo labels of photos whose classes are known."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from afa_wsss.api.checkpoints import Checkpoint, read_checkpoint
from afa_wsss.api.config_file import write_config
from afa_wsss.api.earlier_run import check_no_run
from afa_wsss.api.run_info import backbone_name, run_info
from afa_wsss.api.settings import EvaluateSettings, PseudoLabelSettings, RunSettings, ScoreSettings, changed
from afa_wsss.data.checks.crops import data_warnings
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.report.results import write_results
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.report.stages import BRANCH
from afa_wsss.training.callbacks import MaskWriter, Montages, ProgressBar, ValidationChecks
from afa_wsss.training.callbacks.signals import ctrl_c
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule
from afa_wsss.training.trainer import evaluation_trainer


class Evaluation(NamedTuple):
    """A finished evaluation.

    Attributes:
        metrics: Scores by name, as in ``metrics.json``.
        folder: Folder of scores, report, pictures and masks.
        stages: Names of the prediction stages, in the order of the method.
        written: What was written, by what it is; empty in all processes but the first.
        warnings: What is wrong with the network, a line for each, with the settings to change.
    """

    metrics: dict[str, float]
    folder: Path
    stages: tuple[str, ...]
    written: dict[str, Path]
    warnings: tuple[str, ...] = ()


def evaluate(settings: ScoreSettings) -> Evaluation:
    """Scores the segmentation branch and every stage on held-out photos.

    Raises:
        UserError: For a checkpoint or data that cannot be read or do not belong together.
    """
    masks = Path(settings.output_dir) / "masks" if settings.write_masks else None
    return _score(settings, stage=BRANCH, masks=masks, with_masks=True)


def pseudo_label(settings: PseudoLabelSettings) -> Evaluation:
    """Writes one palette PNG of each photo's pseudo label, the last stage of the label maker.

    Raises:
        UserError: For a checkpoint or data that cannot be read or do not belong together, and photos without labels.
    """
    masks = Path(settings.output_dir) / "pseudo_labels"
    return _score(settings, stage=None, masks=masks, with_masks=settings.score)


def _score(settings: EvaluateSettings, *, stage: str | None, masks: Path | None, with_masks: bool) -> Evaluation:
    """Validates, and writes masks, pictures, metrics, settings and the report.

    Args:
        settings: Checkpoint, data, device.
        stage: Which labels the masks hold; None for the label maker's last.
        masks: Folder for them; None for none.
        with_masks: Whether the photos must have masks; without them the class branch alone is scored.
    """
    folder = Path(settings.output_dir)
    check_no_run(folder)
    with argument("checkpoint"):
        checkpoint = read_checkpoint(settings.checkpoint)
    stored = changed(checkpoint.settings(), data=settings.data, inference=settings.inference)
    data = _open(stored, checkpoint, with_masks=with_masks)
    labels = data.dataset.image_labels
    if stage is None and labels is not None and not labels.any():
        raise UserError(
            f"need image labels to make pseudo labels from, {stored.data.val_split} has none; evaluate writes masks "
            "without",
            arguments=("data.val_split",),
        )
    of_data = data_warnings({"val": data.dataset}, stored.data)
    earlier = _changed_at(masks)
    module = _make_module(checkpoint, stored, data)
    module.gate.found = dict(checkpoint.class_thresholds)
    module.last_validation = stage is not None
    callbacks = [ProgressBar(), ValidationChecks(), Montages(str(folder / "montages"), photos=settings.pictures)]
    if masks is not None:
        callbacks.append(MaskWriter(str(masks), stage=stage))
    with argument("trainer"):
        trainer = evaluation_trainer(settings.trainer, callbacks=callbacks)
    with ctrl_c():
        trainer.validate(module, datamodule=data, verbose=False)
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    written, config = {}, _present(checkpoint, settings)
    facts = [("backbone", backbone_name(stored.model.backbone))]
    last_step = sys.maxsize if checkpoint.steps is None else checkpoint.steps - 1
    terms = checkpoint.losses()
    info = run_info(module, stored.name, facts=facts, config=config, terms=terms, last_step=last_step)
    if trainer.is_global_zero:
        write_config(config, folder)
        written = write_results(folder, metrics, info, None)
        written |= {} if masks is None else {masks.name.replace("_", " "): masks}
    left = _left(masks, earlier)
    warnings = (*of_data, *left, *(warning.line for warning in run_warnings(metrics, info)))
    return Evaluation(metrics, folder, module.scores.stages, written, warnings)


def _changed_at(masks: Path | None) -> dict[Path, int]:
    """The masks in a folder, with when each was last written, in nanoseconds."""
    return {} if masks is None else {path: path.stat().st_mtime_ns for path in masks.rglob("*.png")}


def _left(masks: Path | None, earlier: Mapping[Path, int]) -> list[str]:
    """Says that masks of an earlier evaluation lie beside the new ones, which happens where it saw other photos."""
    count = len(earlier.items() & _changed_at(masks).items())
    found = f"{count} of the masks in {masks} {'is' if count == 1 else 'are'} of an earlier evaluation"
    return [f"{found} of other photos; remove them or give another output_dir"] if count else []


def _present(checkpoint: Checkpoint, settings: EvaluateSettings) -> dict[str, object]:
    """The checkpoint's settings with the changes to them."""
    config: dict[str, object] = dict(checkpoint.config)
    for name, given in (("data", settings.data), ("inference", settings.inference)):
        config[name] = _merged(checkpoint.config[name], given)
    cam_scales = settings.inference.get("cam_scales")
    if cam_scales is not None:  # the label maker's, see ``changed``
        config["supervision"] = {**checkpoint.config["supervision"], "cam_scales": list(cam_scales)}
    return config


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``stored`` with the values of ``given`` that are not None, and nothing of what is None in there."""
    kept = dict(stored)
    for name, value in given.items():
        if isinstance(value, Mapping):
            kept |= {name: inner} if (inner := _merged(stored.get(name) or {}, value)) else {}
        elif value is not None:
            kept[name] = value
    return kept


def _open(settings: RunSettings, checkpoint: Checkpoint, *, with_masks: bool) -> AFADataModule:
    """The validation data.

    Raises:
        UserError: Where there is none, or it has other classes than the checkpoint.
    """
    with argument("data"):
        root = held_out_root(settings.data)
        validation = replace(settings.data, train_split=None)
        data = AFADataModule(validation, seed=settings.seed, with_masks=with_masks)
        check_classes(checkpoint.class_names, data.class_names, root=root)
    return data


def held_out_root(data: DataSettings) -> str:
    """The folder of the data that a checkpoint is scored on.

    Raises:
        UserError: Where neither the checkpoint nor a change names the folder, or the split of photos.
    """
    if data.root is None:
        raise UserError("need the folder of the data, the checkpoint names none", arguments=("root",))
    if data.val_split is None:
        raise UserError("need a split of photos, the checkpoint names none; give one", arguments=("val_split",))
    return data.root


def check_classes(trained: Sequence[str], found: Sequence[str], *, root: str) -> None:
    """Checks that data has the classes that a checkpoint was trained with.

    Raises:
        UserError: For other classes, or another order of them.
    """
    advice = "give another root or checkpoint, or, for photos of one's own, put the classes.txt of its run there"
    if len(trained) != len(found):
        raise UserError(
            f"need data of the checkpoint's {len(trained)} classes, {root} has {len(found)}; {advice}",
            kind="other_classes",
            arguments=("root",),
        )
    other = next((pair for pair in zip(trained, found, strict=True) if pair[0] != pair[1]), None)
    if other is not None:
        raise UserError(
            f"need data of the checkpoint's classes in their order, {root} has {other[1]!r} where the checkpoint has "
            f"{other[0]!r}; {advice}",
            kind="other_classes",
            arguments=("root",),
        )


def _make_module(checkpoint: Checkpoint, settings: RunSettings, data: AFADataModule) -> AFAModule:
    """The module for validation alone: no loss, no optimizer of the run is needed."""
    checkpoint.recall(settings.supervision)
    return AFAModule(
        checkpoint.network(),
        settings.supervision,
        {},
        _no_training,
        _no_training,
        class_names=data.class_names,
        palette=data.dataset.palette,
        inference=settings.inference,
    )


def _no_training(*_: object) -> Any:
    raise RuntimeError("an evaluation trains nothing")
