"""What every command shares: where the configuration lies, and how a mistake is told in one line."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from afa_wsss.cli import schema
from afa_wsss.types import UserError

DEBUG_VARIABLE = "AFA_DEBUG"
"""Set it to see whole tracebacks."""


def config_folder() -> str:
    """``conf/`` inside the installed package, or beside ``src/`` in a checkout."""
    installed = Path(str(files("afa_wsss"))) / "conf"
    return str(installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "conf")


def run(job: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs a command under Hydra; a user's mistake ends it with one line on stderr and exit code 1."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that Hydra hands its errors on instead of printing them
    schema.register()
    quiet_libraries()

    def guarded(config: DictConfig) -> Any:
        try:
            return job(config)
        except Exception as error:  # noqa: BLE001  fail() hands on what is not a mistake of the user
            fail(error)

    command = hydra.main(version_base="1.3", config_path=config_folder(), config_name=config_name)
    try:
        command(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
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
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    own = next((link for link in chain if isinstance(link, UserError)), None)
    if own is not None:
        return " ".join(str(own).split())
    if isinstance(error, InstantiationException):
        return None
    composing = next((link for link in reversed(chain) if isinstance(link, OmegaConfBaseException)), None)
    if composing is not None:
        return f"{_setting(composing)}{_first_line(composing)}; see --help and --cfg job"
    if isinstance(error, HydraException):
        return f"{_first_line(error)}; see --help and --cfg job"
    return None


def _setting(error: OmegaConfBaseException) -> str:
    name = getattr(error, "full_key", None)
    return f"{name}: " if name else ""


def _first_line(error: BaseException) -> str:
    """The first line of a message, without type names in brackets and with known hints of Hydra put plainly."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^Error merging override .*?:\s*", "", line).rstrip(".")


def quiet_libraries() -> None:
    """Hides what a user cannot act on: advice on Lightning's internals, and notes on features of torch to come."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*does not have many workers.*",  # loader workers are a setting of ours
        r".*exists and is not empty.*",  # the run folder holds the configuration before Lightning writes to it
        r".*Checkpoint directory .* exists.*",
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # between Lightning and torch
        r".*You are using a CUDA device .* Tensor Cores.*",
        r".*lr_scheduler\.step\(\).*",  # Lightning calls them in order
    ):
        warnings.filterwarnings("ignore", message=message)
