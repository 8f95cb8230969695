"""A mistake of the user as one line, by the full names of settings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from afa_wsss.cli.words import as_word
from afa_wsss.errors import UserError, named

DEBUG_VARIABLE = "AFA_DEBUG"
"""Set it, or Hydra's own HYDRA_FULL_ERROR, to see whole tracebacks."""

LOST_PROCESS = r"Connection (closed|reset) by peer"
"""What torch raises in the others when one of several processes has ended."""

ONE_VALUE = "Expected more than 1 value per channel when training"
"""Torch's ValueError for a batch norm of pooled values, as in ResNeSt, and a batch of one photo."""

OUT_OF_MEMORY = "OutOfMemoryError"
"""Torch's error for a GPU whose memory is full."""

SEVERAL_VALUES = r"Ambiguous value for argument '([^=]*)=(.*?)'\n"
"""Hydra's message for a comma where nothing is swept."""

NO_GROUP = "Config group override must be a string or a list"
"""Hydra's plain ValueError for ``loss=null`` and its kind."""

NOT_HERE = r"Could not override '([^']*)'\.\s*No match in the defaults list"
"""Hydra's message for ``model=mit_b1`` where a command has no recipes of that group."""

TWO_MODES = "Only one of --run"
"""Hydra's plain ValueError for ``-m --cfg job`` and its kind."""

PLUGINS = ("hydra/launcher", "hydra/sweeper")
EXTRAS = {"joblib": "joblib", "optuna": "optuna", "submitit_local": "submitit", "submitit_slurm": "submitit"}
"""Options of ``PLUGINS`` that come with an extra of the package."""


def user_message(error: BaseException) -> str | None:
    """The one line for a mistake of the user, or None where the error is not one."""
    chain = _causes(error)
    own = next((link for link in chain if isinstance(link, UserError)), None)
    if own is not None:
        return named(own)
    if (of_torch := _message_of_torch(chain)) is not None:
        return of_torch
    if isinstance(error, InstantiationException):
        return f"{_first_lines(error, 2)}; {DEBUG_VARIABLE}=1 shows the traceback"
    setting = next((link for link in chain if isinstance(link, OmegaConfBaseException)), None)
    if setting is not None:
        return message_of_setting(setting)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        extra = f'; pip install "afa-wsss[{EXTRAS[option]}]"' if group in PLUGINS and option in EXTRAS else ""
        return f"need {group} to be one of {', '.join(error.options)}; got {option}{extra}"
    if isinstance(error, HydraException) or str(error).startswith(NO_GROUP):
        return _message_of_word(error) or f"{_first_lines(error, 2)}; see --help and --cfg job"
    if str(error).startswith(TWO_MODES):
        return "need one of --multirun, --cfg and --info, got several; leave out the others"
    return str(error) if isinstance(error, OSError) else None


def _message_of_torch(chain: Iterable[BaseException]) -> str | None:
    """What ends training from outside, by what torch raises; torch is not imported for it."""
    for link in chain:
        if isinstance(link, RuntimeError) and re.search(LOST_PROCESS, str(link)):
            return "another process of this run has stopped; its own message says why"
        if isinstance(link, ValueError) and str(link).startswith(ONE_VALUE):
            return "need data.batch_size of at least 2 for this backbone, whose batch norm sees one value of each photo"
        if isinstance(link, RuntimeError) and type(link).__name__ == OUT_OF_MEMORY:
            used = str(link).partition(". ")[0]
            return (
                f"need less memory than the GPU has, got: {used}; lower data.batch_size (with data.total_batch a step "
                "keeps its crops) or data.crop_size, or set trainer.precision=bf16-mixed or "
                "model.gradient_checkpointing=true"
            )
    return None


def message_of_setting(error: OmegaConfBaseException, *, below: str = "") -> str:
    """What is wrong with a setting, by its full name; ``below`` is the part that the error speaks of, if any."""
    full = ".".join(name for name in (below, str(error.full_key or "")) if name)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and error.parent_node is not None:
        known = [str(key) for key in getattr(error.parent_node, "_content", {}) if key not in ("hydra", "_target_")]
        return f"need a setting that exists, got {full}; {nearest(str(error.key), known)}"
    name = f"{full}: " if full else ""
    return f"{name}{_first_lines(error, 1)}; see --help and --cfg job"


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice on a name that does not exist."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"


def _message_of_word(error: BaseException) -> str | None:
    """How text is typed that Hydra takes for something else."""
    if str(error).startswith(NO_GROUP):
        return (
            "need the name of a recipe for a whole group (model, data, loss, ...), got null or no text; single "
            "settings have names with a dot, as loss.affinity=null"
        )
    if found := re.search(NOT_HERE, str(error)):
        return (
            f"need a setting that exists, got {found[1]}; this command takes single settings, which --help "
            "lists, and no recipes"
        )
    if isinstance(error, OverrideParseException) and "=" in error.override:
        key, _, value = (part.strip() for part in error.override.lstrip("+").partition("="))
        word = as_word(key, value)
        return f"need a value that can be parsed, got {key}={value}; put text in quotes: {word}"
    if isinstance(error, OverrideParseException) and not error.override.startswith("~"):
        return f"need settings as name=value, without blanks, got {error.override}; --help lists them"
    if several := re.match(SEVERAL_VALUES, str(error)):
        key, value = several[1].lstrip("+"), several[2]
        return f"need one value, got {key}={value}; put text in quotes: {as_word(key, value)}, or sweep with --multirun"
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _first_lines(error: BaseException, count: int) -> str:
    """The first lines of a message as one, without Hydra's advice on its own variables."""
    lines = [line.strip().rstrip(".") for line in str(error).strip().splitlines()][:count]
    return re.sub(r", set env var.*?exception", "", ": ".join(line.rstrip(":") for line in lines if line))
