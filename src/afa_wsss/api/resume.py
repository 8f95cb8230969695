"""Which checkpoint a run goes on from, whether it is one of this run, and what differs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.loggers import Logger

from afa_wsss.api.checkpoints import network_weights, read_training_state, recall
from afa_wsss.api.earlier_run import set_aside
from afa_wsss.api.other_settings import differences, refuse_another_run
from afa_wsss.api.settings import TrainSettings
from afa_wsss.api.upgrade import upgraded
from afa_wsss.data.files.whole import copy_whole
from afa_wsss.data.fingerprint import fingerprint
from afa_wsss.errors import UserError, argument
from afa_wsss.models.weights.files import load_strictly
from afa_wsss.training.callbacks.origin import ORIGIN_KEY, without_diffs
from afa_wsss.training.callbacks.plain_config import CONFIG_KEY
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.loggers import go_on_with
from afa_wsss.training.module import AFAModule
from afa_wsss.training.run_files import AUTO, BEST, CHECKPOINTS, LAST, OTHER_BEST, PREVIOUS
from afa_wsss.types import is_own

SCORED_WITH = ("model.", "supervision.", "inference.")
"""Settings that decide what a validation gives, beside its data."""


class Resumed(NamedTuple):
    """The checkpoint that a run goes on from.

    Attributes:
        path: Its file.
        state: Its content.
        step: Training steps that it has done.
        changes: ``optimizer.lr 5e-4 -> 1e-5``: settings of its run, and of this one.
        comparable: Whether its scores are of the photos that this run validates on.
        cut_off: A line for each newer checkpoint that could not be read.
        went_on: Whether a run of this folder has gone on from the checkpoint that was asked for, and ``path`` is its.
        left: Steps of the newer checkpoint of the same folder that is left; None where there is none.
    """

    path: Path
    state: Mapping[str, Any]
    step: int
    changes: tuple[str, ...] = ()
    comparable: bool = True
    cut_off: tuple[str, ...] = ()
    went_on: bool = False
    left: int | None = None

    @property
    def has_other_scores(self) -> bool:
        """Whether a validation of the same weights might give other scores now."""
        return not self.comparable or any(change.startswith(SCORED_WITH) for change in self.changes)

    @property
    def kept_as(self) -> Path | None:
        """Where the newer checkpoint that is left is kept; None where there is none."""
        return None if self.left is None else self.path.with_name(f"last_of_step_{self.left}.ckpt")

    @property
    def callback(self) -> Mapping[str, Any]:
        """What the callback ``Checkpoints`` stored."""
        found: Mapping[str, Any] = self.state.get("callbacks", {}).get("Checkpoints", {})
        return found


def find_checkpoint(resume: str | None, output_dir: str) -> tuple[Resumed | None, tuple[str, ...]]:
    """The checkpoint to go on from, None to start anew, and a line for each that cannot be read.

    Args:
        resume: A file, whose predecessor is taken where it is cut off; ``auto`` for the newest of ``output_dir``. Where
            a run of ``output_dir`` has gone on from this file already, the newest of ``output_dir`` is taken.
        output_dir: Folder of the run.

    Raises:
        UserError: For a file that is not there or not one of a run, and has no predecessor.
    """
    if resume is None:
        return None, ()
    own = Path(output_dir) / CHECKPOINTS
    if Path(resume).resolve() == (own / BEST).resolve() and not (own / BEST).exists() and (own / OTHER_BEST).exists():
        resume = str(own / OTHER_BEST)  # this run has been resumed from it, with other held-out photos
    found, lines = _newest_whole(resume, own)
    if found is None or resume == AUTO or found.path.resolve() == (own / LAST).resolve():
        return found, lines
    newer, own_lines = _newest_whole(AUTO, own)
    if newer is not None and _has_gone_on(newer, found):
        return newer._replace(went_on=True), own_lines
    beside = found.path.parent.resolve() == own.resolve()
    if beside and newer is not None and newer.path.name == LAST and newer.step > found.step:
        found = found._replace(left=newer.step)
    return found, lines


def _newest_whole(resume: str, own: Path) -> tuple[Resumed | None, tuple[str, ...]]:
    """The newest checkpoint that can be read, of a file and its predecessor, or with ``auto`` of the folder ``own``."""
    last = own / LAST if resume == AUTO else Path(resume)
    others = [last.with_name(PREVIOUS)] if last.name == LAST else []
    cut_off: list[str] = []
    for path in (last, *others, *([own / BEST] if resume == AUTO else [])):
        try:
            state = read_training_state(str(path))
        except UserError as error:
            if resume != AUTO and not (others and others[0].is_file()):
                raise
            if error.kind != "missing":
                cut_off.append(str(error))
            continue
        lines = tuple(f"{line}; going on from {path}, step {state['global_step']}" for line in cut_off)
        return Resumed(path, state, int(state["global_step"]), cut_off=lines), lines
    return None, tuple(f"{line}; starting anew" for line in cut_off)


def _has_gone_on(newer: Resumed, earlier: Resumed) -> bool:
    """Whether ``newer`` is of a run that was resumed from ``earlier``."""
    origin = {**without_diffs(earlier.state.get(ORIGIN_KEY, {})), "step": earlier.step}
    origin.pop("resumed", None)
    return origin in newer.state.get(ORIGIN_KEY, {}).get("resumed", ())


def check_settings(
    resumed: Resumed,
    config: Mapping[str, Any],
    class_names: Sequence[str],
    *,
    scored_on: str,
    photos: Mapping[str, Any],
) -> Resumed:
    """The same with its differences from the settings and the training photos of this run.

    Args:
        resumed: The checkpoint.
        config: Settings of this run as plain data.
        class_names: Classes of its data.
        scored_on: See ``scored_on``.
        photos: Number and fingerprint of its training photos, as in ``origin_of``.

    Raises:
        UserError: Without ``config``, and where classes, seed, backbone, label maker or loss table are others; both
            sides are named.
    """
    if not config:
        raise UserError(
            f"need the settings as plain data, to compare them with those of {resumed.path}, got none; give them as "
            "config",
            kind="no_config",
        )
    before = upgraded(resumed.state[CONFIG_KEY]) if "data" in resumed.state[CONFIG_KEY] else {}
    _check_classes(resumed.path, resumed.state[CONFIG_KEY].get("class_names", class_names), class_names)
    if before:
        refuse_another_run(before, config, path=resumed.path)
    changes = [*(differences(before, config) if before else ()), *_other_photos(resumed, photos)]
    comparable = resumed.callback.get("scored_on") in (None, scored_on)
    return resumed._replace(changes=tuple(changes), comparable=comparable)


def _other_photos(resumed: Resumed, photos: Mapping[str, Any]) -> Iterator[str]:
    """A line where training photos or their image labels are others than those of the checkpoint's run."""
    before = resumed.state.get(ORIGIN_KEY, {}).get("data", {}).get("train")
    if before is not None and before != photos:
        old, new = (f"{one['photos']} ({one['sha256']})" for one in (before, photos))
        yield f"training photos {old} -> {new}"


def check_weights(resumed: Resumed, settings: TrainSettings, module: AFAModule) -> None:
    """Checks that weights and steps of the checkpoint fit, before Lightning loads it.

    Raises:
        UserError: For another network, losses whose parameters and buffers are others, background scores found in one
            run and given in the other, and more steps than this run shall have.
    """
    load_strictly(module.network, network_weights(resumed.state), source=str(resumed.path))
    with argument("loss"):
        load_strictly(module.losses, network_weights(resumed.state, "losses."), source=str(resumed.path))
    _check_memory(resumed, module)
    if resumed.step > settings.trainer.max_steps:
        raise UserError(
            f"need trainer.max_steps of at least the {resumed.step} steps of {resumed.path}, got "
            f"{settings.trainer.max_steps}"
        )


def _check_memory(resumed: Resumed, module: AFAModule) -> None:
    """Checks that the label maker can go on with what that of the checkpoint has learned."""
    memory, stored = module.label_memory, network_weights(resumed.state, "label_memory.")
    if (memory is None) != (not stored):
        what = "need background scores as those of {path}, which are {before}, got {now}"
        settings, sides = "low, high, background and walk_when of supervision", ("numbers", "auto")
        if is_own(module.label_maker):
            what = "need a label maker with a memory as that of {path}, which has {before}, got {now}"
            settings, sides = "supervision", ("none", "one")
        now, before = sides if memory is None else sides[::-1]
        raise UserError(
            f"{what.format(path=resumed.path, before=before, now=now)}; set {settings} as there, or start a "
            "run of its own"
        )
    if memory is not None:
        recall(module.label_maker, stored, source=str(resumed.path))


def _check_classes(path: Path, before: Sequence[str], now: Sequence[str]) -> None:
    if tuple(before) == tuple(now):
        return
    if len(before) != len(now):
        pair = (f"{len(before)} classes", f"{len(now)}")
    else:
        place = next(index for index, (old, new) in enumerate(zip(before, now, strict=True)) if old != new)
        pair = (f"class {place + 1}, {before[place]!r}", f"{now[place]!r}")
    raise UserError(
        f"need data of the classes of {path} in their order: {pair[0]}, got {pair[1]}; give its data, or start a run "
        "of its own",
        kind="other_classes",
        arguments=("data.root",),
    )


def scored_on(data: AFADataModule, config: Mapping[str, Any]) -> str:
    """Fingerprint of what a validation measures: photos, masks, classes, and how they are predicted."""
    if data.val_set is None:
        return "nothing"
    measured = [fingerprint(data.val_set.dataset, masks=True), data.val_set.max_side, config.get("inference")]
    part = str(config.get("trainer", {}).get("limit_val_batches", 1.0))  # 1 is one batch, 1.0 all of them
    measured += [] if part == "1.0" else [part]  # all photos: as in checkpoints from before it counted
    return f"{zlib.crc32(json.dumps(measured, default=str).encode()):08x}"


def bring_along(resumed: Resumed, folder: Path, loggers: Sequence[Logger]) -> None:
    """Makes a run's folder one that goes on from a checkpoint, in the first process, before anything is trained.

    Checkpoints of another folder are copied, and what an earlier run left in this one is set aside. Loggers go on where
    they are those of the same folder; a newer checkpoint there, and the rows of steps that are done again, are kept
    under other names. (The ``best.ckpt`` of other data loses its name once all processes have read it: see
    ``Checkpoints``.)
    """
    kept, source = folder / CHECKPOINTS, resumed.path.parent
    if source.resolve() == kept.resolve():
        rows = folder / "logs" / "metrics.csv"
        if resumed.left is not None and rows.is_file():
            copy_whole(rows, rows.with_name(f"metrics_to_step_{resumed.left}.csv"))
        ids = resumed.callback.get("wandb", [])
        go_on_with(loggers, done_steps=resumed.step, ids=ids)
        if resumed.path.name != LAST:
            copy_whole(resumed.path, kept / LAST, previous=resumed.kept_as)
        return
    set_aside(folder)
    if resumed.comparable and (source / BEST).is_file():
        copy_whole(source / BEST, kept / BEST)
    copy_whole(resumed.path, kept / LAST)
