"""What every command shares: where the configuration lies, and how a mistake is told in one line."""

from __future__ import annotations

import difflib
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from afa_wsss.cli import schema
from afa_wsss.cli.processes import one_job
from afa_wsss.errors import UserError

DEBUG_VARIABLE = "AFA_DEBUG"
"""Set it, or Hydra's own HYDRA_FULL_ERROR, to see whole tracebacks."""

LOST_PROCESS = r"Connection (closed|reset) by peer"
"""What the others say when one of several processes has ended."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

SEVERAL_VALUES = r"Ambiguous value for argument '([^=]*)=(.*?)'\n"
"""What Hydra says of a comma where nothing is swept."""

NO_GROUP = "Config group override must be a string or a list"
"""Hydra's plain ValueError for ``loss=null`` and its kind."""


def config_folder() -> str:
    """``conf/`` inside the installed package, or beside ``src/`` in a checkout."""
    installed = Path(str(files("afa_wsss"))) / "conf"
    return str(installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "conf")


def run(job: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs a command under Hydra; a user's mistake ends it with one line on stderr and exit code 1."""
    # Before the next line, and for the processes that inherit it: whether the user asked for tracebacks.
    os.environ.setdefault(DEBUG_VARIABLE, os.environ.get("HYDRA_FULL_ERROR", ""))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra hands its errors on instead of printing them
    schema.register()
    quiet_libraries()
    show_notes()

    def guarded(config: DictConfig) -> Any:
        try:
            with one_job():
                # Also what a "+" has added must be in the schema.
                OmegaConf.merge(OmegaConf.structured(schema.SCHEMAS[config_name]), OmegaConf.to_container(config))
                return job(config)
        except Exception as error:  # noqa: BLE001  fail() hands on what is not a mistake of the user
            fail(error)

    command = hydra.main(version_base="1.3", config_path=config_folder(), config_name=config_name)
    try:
        command(guarded)()
    except KeyboardInterrupt:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        sys.stderr.write("stopped\n")
        raise SystemExit(INTERRUPTED) from None
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        fail(error)


def fail(error: Exception) -> NoReturn:
    """Ends the command: one line for a mistake of the user, the traceback for one of ours."""
    told = user_message(error)
    if told is None or os.environ.get(DEBUG_VARIABLE):
        raise error
    sys.stderr.write(f"error: {told}\n")
    raise SystemExit(1)


def user_message(error: BaseException) -> str | None:
    """The one line that tells a user's mistake, or None where the error is not one."""
    chain = _causes(error)
    own = next((link for link in chain if isinstance(link, UserError)), None)
    if own is not None:
        return " ".join(str(own).split())
    if any(isinstance(link, RuntimeError) and re.search(LOST_PROCESS, str(link)) for link in chain):
        return "another process of this run has stopped; its own message says why"
    if isinstance(error, InstantiationException):
        return f"{_first_lines(error, 2)}; {DEBUG_VARIABLE}=1 shows the traceback"
    setting = next((link for link in chain if isinstance(link, OmegaConfBaseException)), None)
    if setting is not None:
        return _told_of_setting(setting)
    if isinstance(error, MissingConfigException) and error.options:
        return (
            f"need {str(error.missing_cfg_file).rpartition('/')[0]} to be one of {', '.join(error.options)}; got "
            + (str(error.missing_cfg_file).rpartition("/")[2])
        )
    if isinstance(error, HydraException) or str(error).startswith(NO_GROUP):
        return _told_of_word(error) or f"{_first_lines(error, 2)}; see --help and --cfg job"
    return str(error) if isinstance(error, OSError) else None


def _told_of_word(error: BaseException) -> str | None:
    """How text that Hydra takes for something else is typed."""
    if isinstance(error, OverrideParseException) and "=" in error.override:
        key, _, value = error.override.partition("=")
        return f"need a value that can be read, got {error.override}; put text in quotes: {as_word(key, value)}"
    if several := re.match(SEVERAL_VALUES, str(error)):
        key, value = several.groups()
        return f"need one value, got {key}={value}; put text in quotes: {as_word(key, value)}, or sweep with --multirun"
    return None


def as_word(key: str, value: str) -> str:
    """A setting of text as it is typed: Hydra wants quotes around what is not plain, and a shell around those."""
    if re.fullmatch(r"[\w./:~+-]+", value, re.ASCII):
        return f"{key}={value}"
    word = f"{key}='" + value.strip("'").replace("'", "\\'") + "'"
    return shlex.quote(word) if re.search(r'["$`!\\]', word) else f'"{word}"'


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _told_of_setting(error: OmegaConfBaseException) -> str:
    """What is wrong with a setting, by its full name."""
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and error.parent_node is not None:
        known = [str(key) for key in getattr(error.parent_node, "_content", {}) if key != "hydra"]
        close = difflib.get_close_matches(str(error.key), known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        return f"need a setting that exists, got {error.full_key}; {advice}"
    name = f"{error.full_key}: " if error.full_key else ""
    return f"{name}{_first_lines(error, 1)}; see --help and --cfg job"


def _first_lines(error: BaseException, count: int) -> str:
    """The first lines of a message as one, without Hydra's advice on its own variables."""
    lines = [line.strip().rstrip(".") for line in str(error).strip().splitlines()][:count]
    return re.sub(r", set env var.*?exception", "", ": ".join(line.rstrip(":") for line in lines if line))


class Notes(logging.Handler):
    """Prints what the package has to say of itself, such as which weights it took."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stdout."""
        sys.stdout.write(f"{self.format(record)}\n")


def show_notes() -> None:
    """Lets the first of several processes print the package's notes."""
    notes = logging.getLogger("afa_wsss")
    first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    if first and not any(isinstance(handler, Notes) for handler in notes.handlers):
        notes.setLevel(logging.INFO)
        notes.addHandler(Notes())


def quiet_libraries() -> None:
    """Hides what a user cannot act on: advice on Lightning's internals, and notes on features of torch to come."""
    os.environ.setdefault("WANDB_SILENT", "true")  # afa-train says where the run is, in one line
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*your dataloader is not resumable.*",  # our sampler goes on where the earlier run stopped
        r".*does not have many workers.*",  # loader workers are a setting of ours
        r".*exists and is not empty.*",  # the run folder holds the configuration before Lightning writes to it
        r".*Checkpoint directory .* exists.*",
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # between Lightning and torch
        r".*You are using a CUDA device .* Tensor Cores.*",
        r".*lr_scheduler\.step\(\).*",  # Lightning calls them in order
        r"(?s).*Grad strides do not match bucket view strides.*",  # of depthwise convolutions under DDP; a copy is made
    ):
        warnings.filterwarnings("ignore", message=message)
