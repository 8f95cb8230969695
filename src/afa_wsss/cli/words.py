"""The words of a command line, before Hydra reads them: what people type, as Hydra wants it."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from afa_wsss.api.upgrade import upgraded_inference
from afa_wsss.errors import UserError

OLD_CRF, REFINEMENT = "inference.crf", "inference.refinement"
"""A setting of earlier versions, and that of today."""

NESTED_GROUPS = ("supervision/refinement",)
"""Groups inside groups; Hydra wants a slash where people type a dot."""

OPEN = ("loss.", "supervision.", "callbacks.", "logger.", "data.dataset.", "model.backbone.")
"""Settings of parts: which there are is known only when the class is, so Hydra may not refuse them by name."""

GROUPS = (
    "model",
    "data",
    "supervision",
    "loss",
    "optimizer",
    "scheduler",
    "trainer",
    "inference",
    "callbacks",
    "logger",
)
"""Groups of ``afa-train`` whose whole content a ``config.yaml`` holds."""

RECIPES = {
    "partshapes": "demo_regularized",
    "voc12": "voc12_mit_b1",
    "coco14": "coco14_mit_b1",
    "coco17": "coco14_mit_b1",
    "folder": "photos",
}
"""Experiments that ``sweep=ablation`` takes apart, by the data."""

PLACES = ("output_dir", "resume")
"""Settings of a ``config.yaml`` that another run does not take over: where that run was, and what it went on from."""

FLAGS = tuple(
    f"--{name}"
    for name in (
        *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "shell-completion"),
        *("config-path", "config-name", "config-dir", "info", "experimental-rerun"),
    )
)
"""Words with two dashes that Hydra takes; it also takes their beginnings, but ``--experiment`` would mean the last."""

MULTIRUN = ("-m", "--multirun")
"""Flags of Hydra that make the words a sweep."""

OPTUNA = ("hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=1", "hydra.sweeper.max_failure_rate=1.0")
"""What ``hydra/sweeper=optuna`` means here: the highest score, trial by trial, and no end at one that fails. The plugin
would look for the lowest, and end."""

OPTUNA_GRID = (
    "hydra.sweeper.sampler._target_=afa_wsss.cli.optuna_grid.grid_whose_last_trial_may_fail",
    "hydra.sweeper.sampler._partial_=false",
)
"""What ``hydra/sweeper/sampler=grid`` means here: a grid whose last trial may fail, too."""

STORED = "stored_config"
"""Group, and option, under which Hydra finds the ``config.yaml`` of ``config=PATH``."""


def as_hydra_wants(words: Sequence[str]) -> list[str]:
    """The words with group choices, settings of parts and ``config=PATH`` rewritten; words that are so already stay.

    Raises:
        UserError: For a ``config`` that cannot be read, and for two words that set one thing.
    """
    rewritten = [_setting(_group_choice(_with_home(word))) for word in _without_crf(_flags_first(words))]
    _check_output_dir(rewritten)
    return _with_stored_config(_with_recipe(_with_optuna(rewritten)))


def _check_output_dir(words: Sequence[str]) -> None:
    """Checks that a folder is named where one is given, and that a sweep names its own.

    Raises:
        UserError: For an empty folder, as of a shell variable that is not set, and the folder of a run in a sweep.
    """
    given = next((word.partition("=")[2] for word in words if word.startswith("output_dir=")), None)
    if given is None:
        return
    if not given.strip("'\" "):
        raise UserError("need a folder, got an empty name; leave it out, or give a path", arguments=("output_dir",))
    if any(word in MULTIRUN for word in words):
        raise UserError(
            f"need hydra.sweep.dir={given} for the folder of a sweep, got output_dir, which is that of one run",
            arguments=("output_dir",),
        )


def _flags_first(words: Sequence[str]) -> list[str]:
    """The words with ``-m`` before all others: argparse takes no setting after a flag that stands between settings.

    Raises:
        UserError: For a setting with dashes.
    """
    for word in words:
        flag, _, value = word.partition("=")
        if flag.startswith("--") and flag not in FLAGS:
            meant = f"{flag.lstrip('-')}={value or '...'}"
            raise UserError(f"need settings without dashes, got {word}; write {meant}, or see --help")
    flags = [word for word in words if word in MULTIRUN]
    return [*flags, *(word for word in words if word not in MULTIRUN)]


def _with_optuna(words: list[str]) -> list[str]:
    """``hydra/sweeper=optuna`` with the settings of ``OPTUNA``, and of ``OPTUNA_GRID``, that are not given."""
    if "hydra/sweeper=optuna" not in words:
        return words
    meant = (*OPTUNA, *(OPTUNA_GRID if "hydra/sweeper/sampler=grid" in words else ()))
    given = {word.partition("=")[0] for word in words}
    return [*words, *(word for word in meant if word.partition("=")[0] not in given)]


def _with_recipe(words: list[str]) -> list[str]:
    """``sweep=ablation`` with the recipe for its data, PartShapes if none are named, unless a recipe is named."""
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    if given.get("sweep") != "ablation" or {"experiment", "config"} & given.keys():
        return words
    recipe = RECIPES.get(given.get("data", "partshapes"))
    return words if recipe is None else [*words, f"experiment={recipe}"]


def _without_crf(words: Sequence[str]) -> list[str]:
    """``inference.crf=true``, as it was until version 0.2.0, as ``inference.refinement=crf``; ``false`` as ``none``."""
    keys = [word.partition("=")[0].lstrip("+") for word in words]
    if OLD_CRF in keys and REFINEMENT in keys:
        raise UserError(
            f"need {REFINEMENT} alone, got {OLD_CRF} too; leave out {OLD_CRF}", arguments=(OLD_CRF, REFINEMENT)
        )
    return [_refinement(word) if key == OLD_CRF else word for word, key in zip(words, keys, strict=True)]


def _refinement(word: str) -> str:
    """The word for the refinement in place of that for the dense CRF; a note says so."""
    values = word.partition("=")[2].split(",")
    unknown = [value for value in values if value.strip().lower() not in ("true", "false")]
    if unknown:
        raise UserError(f"need true or false, got {', '.join(unknown)}; or give {REFINEMENT}", arguments=(OLD_CRF,))
    chosen = ",".join("crf" if value.strip().lower() == "true" else "none" for value in values)
    logging.getLogger(__name__).info("%s is now called %s=%s", word, REFINEMENT, chosen)
    return f"{REFINEMENT}={chosen}"


def _with_home(word: str) -> str:
    """``data.root=~/photos``, which shells leave as it is and Hydra cannot parse, with each path in full and quoted."""
    key, equals, value = word.partition("=")
    if "~" not in value or word.startswith(("~", "-")) or re.search(r"""['"\[\](){}=$\\]""", value):
        return word
    paths = (f"'{Path(path).expanduser()}'" if "~" in path else path for path in value.split(","))
    return f"{key}{equals}{','.join(paths)}"


def _group_choice(word: str) -> str:
    """``supervision.refinement=crf`` as the choice of a group; ``null`` chooses ``none``."""
    key, equals, value = word.partition("=")
    group = key.replace(".", "/")
    if not equals or group not in NESTED_GROUPS or value.startswith(("{", "$")):
        return word
    return f"{group}={'none' if value == 'null' else value}"


def _setting(word: str) -> str:
    """A setting of a part, which is set whether its class has been seen or not."""
    key, equals, _ = word.partition("=")
    return f"++{word}" if equals and key.startswith(OPEN) else word


def _with_stored_config(words: list[str]) -> list[str]:
    """Puts the groups of ``config=PATH`` in place of those that Hydra would compose; chosen groups win over them."""
    path = next((word.partition("=")[2] for word in words if word.startswith("config=")), None)
    if path is None or path in ("null", ""):
        return words
    stored = read_config(Path(path.strip("'\"")).expanduser())
    if isinstance(stored.get("inference"), dict):
        stored["inference"] = upgraded_inference(stored["inference"])
    chosen = {word.partition("=")[0] for word in words if "=" in word}
    for other in ("experiment", "ablation", "sweep=ablation"):
        if other in chosen or other in words:
            raise UserError(
                f"need config or {other}, got both: a config.yaml holds all settings of its experiment; leave one out",
                arguments=("config", other.partition("=")[0]),
            )
    kept = [group for group in GROUPS if group not in chosen]
    content = {key: value for key, value in stored.items() if key in kept or key not in (*GROUPS, *PLACES)}
    for group in NESTED_GROUPS:
        above, _, inner = group.partition("/")
        if group in chosen and isinstance(content.get(above), dict):
            content[above] = {key: value for key, value in content[above].items() if key != inner}
    ConfigStore.instance().store(name=STORED, group=STORED, node=content, package="_global_")
    if any(STORED in word for word in words):  # a process that was started with rewritten words
        return words
    nested = {group: group.partition("/")[0] in kept for group in NESTED_GROUPS}
    words = [f"+{word}" if nested.get(word.partition("=")[0]) else word for word in words]
    first = next(index for index, word in enumerate(words) if "=" in word and not word.startswith("-"))
    return [*words[:first], *(f"~{group}" for group in kept), f"+{STORED}={STORED}", *words[first:]]


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a ``config.yaml``.

    Raises:
        UserError: For a file that is not there or holds no settings.
    """
    if not path.is_file():
        raise UserError(f"need a config.yaml that a run wrote, found none at {path}", arguments=("config",))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"need YAML in {path}, got {type(error).__name__}", arguments=("config",)) from error
    if not isinstance(content, dict) or not {"model", "data", "trainer"} <= content.keys():
        raise UserError(
            f"need settings of afa-train in {path}, it holds others; give the config.yaml of a run",
            arguments=("config",),
        )
    return content


def as_word(key: str, value: str) -> str:
    """A setting of text as it is typed: Hydra wants quotes around what is not plain, and a shell around those."""
    if re.fullmatch(r"[\w./:~+-]+", value, re.ASCII):
        return f"{key}={value}"
    word = f"{key}='" + value.strip("'").replace("'", "\\'") + "'"
    return shlex.quote(word) if re.search(r'["$`!\\]', word) else f'"{word}"'
