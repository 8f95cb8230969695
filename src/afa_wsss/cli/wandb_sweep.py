"""``afa-wandb-sweep``: writes the YAML of a W&B Sweep with the space of ``conf/sweep`` that Optuna would search."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import OverrideParseException

from afa_wsss.cli.compose import Composed, register
from afa_wsss.cli.output import say, say_files
from afa_wsss.cli.shell import Command
from afa_wsss.cli.train import PARTS, TrainWords
from afa_wsss.cli.words import MULTIRUN, OPEN, as_hydra_wants
from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError
from afa_wsss.training.callbacks import WandbFiles
from afa_wsss.training.callbacks.wandb_files import OBJECTIVE

WANDB = ("logger=wandb", "logger.wandb.offline=false", "logger.wandb.name=null", "logger.wandb.job_type=sweep")
"""Words for the runs of an agent, unless given otherwise: wandb names them, and learns their scores."""

RUN_FOLDER = "output_dir=outputs/${name}/sweep_${oc.env:WANDB_SWEEP_ID}/${oc.env:WANDB_RUN_ID}"
"""Where each goes: agents may start at the same second."""

OWN = ("sweep", "space", "output")
"""Words that no run is given."""


@dataclass(frozen=True)
class WandbSweepWords(TrainWords):
    """The words of ``afa-train``, and those of this command.

    Attributes:
        space: Words with several values, as ``supervision.low=interval(0.1,0.4)``; they win over those of ``sweep``.
        output: The file.
    """

    space: Sequence[str] = ()
    output: str = "wandb_sweep.yaml"


def write_sweep(composed: Composed[WandbSweepWords]) -> None:
    """Writes the file and says what to do with it."""
    path = Path(composed.settings.output).expanduser()
    with whole_file(path) as part:
        part.write_text(yaml.safe_dump(sweep_of(composed), sort_keys=False, width=1000), encoding="utf-8")
    say_files({"sweep": path})
    say(f"start it: wandb sweep {path}; then the agents, with the command that it prints")


def sweep_of(composed: Composed[WandbSweepWords]) -> dict[str, Any]:
    """The configuration of a W&B Sweep.

    Raises:
        UserError: For runs that would tell the sweep no score, and for a space without parameters.
    """
    _refuse_runs_without_score(composed)
    config, place = composed.config, HydraConfig.get()
    words = [_typed(word) for word in place.overrides.task if word.partition("=")[0] not in OWN]
    given = {_key(word) for word in words}
    overrides = _parsed(f"{key}={value}" for key, value in (place.sweeper.params or {}).items())
    overrides += _parsed(as_hydra_wants(composed.settings.space))
    chosen = {_key(str(one.input_line)): one for one in overrides if _key(str(one.input_line)) not in given}
    parameters = {name: parameter_of(one) for name, one in chosen.items() if one.is_sweep_override()}
    if not parameters:
        raise UserError(
            "need settings to search, got none; give sweep=thresholds or 'supervision.low=interval(0.1,0.4)'"
        )
    words += [_typed(str(one.input_line)) for one in chosen.values() if not one.is_sweep_override()]
    words += [] if "output_dir" in given else [RUN_FOLDER]
    logger, space = config["logger"]["wandb"], place.runtime.choices.get("sweep")
    return {
        "name": f"{config['name']} {space}" if space else config["name"],
        **{name: logger[name] for name in ("entity", "project") if logger.get(name)},
        "program": "afa-train",
        "method": "bayes",
        "metric": {"name": OBJECTIVE, "goal": "maximize"},
        "parameters": parameters,
        "command": ["${env}", "afa-train", *words, "${args_no_hyphens}"],
    }


def _refuse_runs_without_score(composed: Composed[WandbSweepWords]) -> None:
    logger = composed.config["logger"].get("wandb")
    if not logger or logger.get("offline"):
        raise UserError("need runs that are online, for their scores; leave out logger and logger.wandb.offline")
    if not any(isinstance(part, WandbFiles) for part in composed.settings.callbacks.values()):
        raise UserError(
            f"need the callback that logs {OBJECTIVE}, got none; leave out callbacks.wandb_files, or set its checkpoint"
        )


def _typed(word: str) -> str:
    """A word as people type it: ``afa-train`` itself puts the ``++`` in front of settings of parts."""
    bare = word.removeprefix("++")
    return bare if bare.startswith(OPEN) else word


def _key(word: str) -> str:
    return _typed(word).partition("=")[0]


def _parsed(words: Iterable[str]) -> list[Override]:
    return list(OverridesParser.create().parse_overrides(list(words)))


def parameter_of(override: Override) -> dict[str, Any]:
    """A word with several values as a parameter of a W&B Sweep, with the values that Hydra's Optuna plugin draws from.

    Raises:
        UserError: For what W&B cannot draw from.
    """
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(override, value)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _range(value)
    if isinstance(value, ChoiceSweep | RangeSweep):
        return {"values": list(override.sweep_iterator(transformer=Transformer.encode))}
    raise UserError(f"need an interval, a range or values, got {override.input_line}")


def _interval(override: Override, value: IntervalSweep) -> dict[str, Any]:
    whole, log = all(type(bound) is int for bound in (value.start, value.end)), "log" in value.tags
    if whole and log:
        raise UserError(
            f"need a logarithmic interval of numbers with a point, or a range, got {override.input_line}: W&B draws no "
            "whole numbers from a logarithmic one"
        )
    kind = "log_uniform_values" if log else "int_uniform" if whole else "uniform"
    return {"distribution": kind, "min": value.start, "max": value.end}


def _range(value: RangeSweep) -> dict[str, Any]:
    """With its end, as Optuna has it; W&B counts steps from 0, so other steps than 1 are values."""
    start, stop, step = value.start, value.stop, value.step
    if start is None or stop is None:
        raise UserError("need a range with start and stop")
    if isinstance(start, int) and isinstance(stop, int) and step == 1:
        return {"distribution": "int_uniform", "min": start, "max": stop}
    count = int((stop - start) / step + 1e-9) + 1
    return {"values": [round(start + index * step, 10) for index in range(count)]}


def is_space(word: str) -> bool:
    """Whether a word has several values."""
    try:
        return any(one.is_sweep_override() for one in _parsed([word]))
    except OverrideParseException:
        return False  # Hydra says what is wrong with it


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "\\'") + "'"


COMMAND = Command("wandb_sweep", WandbSweepWords, write_sweep, PARTS)


def main() -> None:
    """Entry point of ``afa-wandb-sweep``; words with several values are the ``space``."""
    register("train", WandbSweepWords, PARTS)  # conf/wandb_sweep.yaml takes all of conf/train.yaml
    words = [word for word in sys.argv[1:] if word not in MULTIRUN]
    space = [word for word in words if is_space(word)]
    given = {_key(word) for word in words}
    other_logger = "logger" in given and "logger=wandb" not in words  # refused once all is composed
    sys.argv[1:] = [
        *(word for word in (() if other_logger else WANDB) if _key(word) not in given),
        *(word for word in words if word not in space),
        *([f"space=[{','.join(map(_quoted, space))}]"] if space else []),
    ]
    COMMAND.run()


if __name__ == "__main__":
    main()
