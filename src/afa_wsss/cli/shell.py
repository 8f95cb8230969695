"""What every command shares: it composes, hands typed settings to a job, and turns errors into one line."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, Generic, NoReturn, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from afa_wsss import __version__
from afa_wsss.api.recipes import recipe_folder
from afa_wsss.cli.compose import Composed, register, settings_of
from afa_wsss.cli.messages import DEBUG_VARIABLE, user_message
from afa_wsss.cli.processes import one_job
from afa_wsss.cli.sweep import counted_jobs, is_sweep, swept
from afa_wsss.cli.words import as_hydra_wants
from afa_wsss.errors import UserError
from afa_wsss.training.run_files import AUTO
from afa_wsss.training.started_processes import started_processes

Settings = TypeVar("Settings")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Command(Generic[Settings]):
    """A command.

    Attributes:
        name: Name of its YAML file in conf/.
        settings: Dataclass of its settings.
        job: What it does with them.
        parts: Classes that conf/ names, see ``compose.register``.
        together: Whether processes that torchrun or srun has started run it together.
    """

    name: str
    settings: type[Settings]
    job: Callable[[Composed[Settings]], Any]
    parts: Mapping[str, type] | None = None
    together: bool = False

    def run(self) -> None:
        """Runs under Hydra; a user's mistake ends it with one line on stderr and exit code 1."""
        show_version(sys.argv[1:])
        # Whether the user asked for tracebacks; kept for the processes that inherit it before the next line changes it.
        os.environ.setdefault(DEBUG_VARIABLE, os.environ.get("HYDRA_FULL_ERROR", ""))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
        self._prepare()
        try:
            sys.argv[1:] = as_hydra_wants(sys.argv[1:])
            check_processes(self, sys.argv[1:])
            config_path = str(recipe_folder())
            with counted_jobs():
                hydra.main(version_base="1.3", config_path=config_path, config_name=self.name)(self._guarded)()
        except KeyboardInterrupt:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            sys.stderr.write("stopped\n")
            raise SystemExit(INTERRUPTED) from None
        except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
            fail(error)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Prepares a process that a launcher started for jobs of a sweep, as ``run`` prepares the first one."""
        self.__dict__.update(state)
        self._prepare()

    def _prepare(self) -> None:
        register(self.name, self.settings, self.parts)
        quiet_libraries()
        print_any_name()
        show_notes()

    def _guarded(self, config: DictConfig) -> Any:
        if is_sweep():
            return swept(lambda: self._run_job(config))
        try:
            return self._run_job(config)
        except Exception as error:  # noqa: BLE001  fail() raises what is not a mistake of the user
            fail(error)

    def _run_job(self, config: DictConfig) -> Any:
        with one_job():
            return self.job(settings_of(config, self.settings, output_dir=_job_folder()))


def check_processes(command: Command[Any], words: Sequence[str]) -> None:
    """Checks that processes which run a command together can do so, and write to one folder.

    Raises:
        UserError: For a command of one process, and a folder that each process would name by its own clock.
    """
    by, started = started_processes()
    if started == 1:
        return
    if not command.together:
        raise UserError(f"need one process for this command, {by} started {started}; start it without {by}")
    given = {word.lstrip("+").partition("=")[0] for word in words}
    if not given & {"output_dir", "hydra.run.dir", "hydra.sweep.dir", "--cfg"} and f"resume={AUTO}" not in words:
        raise UserError(
            f"need a folder for the {started} processes that {by} started, each would name one by its own clock; give "
            "output_dir=FOLDER",
            arguments=("output_dir",),
        )


def show_version(words: Sequence[str]) -> None:
    """Ends a command that is asked for its version, where Hydra would print its own."""
    if "--version" in words:
        sys.stdout.write(f"afa-wsss {__version__}\n")
        raise SystemExit(0)


def _job_folder() -> str | None:
    """The folder that Hydra made for this job, within a sweep too; None where a command has none of its own."""
    job = HydraConfig.get()
    return None if job.run.dir == "." else str(job.runtime.output_dir)


def fail(error: Exception) -> NoReturn:
    """Ends the command: one line for a mistake of the user, the traceback for one of ours."""
    message = user_message(error)
    if message is None or os.environ.get(DEBUG_VARIABLE):
        raise error
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(1)


class Notes(logging.Handler):
    """Prints what the package logs of its own, such as which weights it took."""

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


def print_any_name() -> None:
    """Lets stdout escape what its encoding lacks, as stderr does: names of files may hold any bytes."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors != "surrogateescape":  # which writes the bytes
        sys.stdout.reconfigure(errors="backslashreplace")


def quiet_libraries() -> None:
    """Hides what a user cannot act on: advice on Lightning's internals, and notes on coming features of torch."""
    os.environ.setdefault("WANDB_SILENT", "true")  # afa-train prints where the run is, in one line
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # optuna 2 needs SQLAlchemy below 2, and has it
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # what kernels it lacks that nothing here uses
    for message in (
        r".*your dataloader is not resumable.*",  # our sampler continues where the earlier run stopped
        r".*does not have many workers.*",  # loader workers are a setting of ours
        r".*exists and is not empty.*",  # the run folder holds the configuration before Lightning writes to it
        r".*Checkpoint directory .* exists.*",
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # between Lightning and torch
        r".*You are using a CUDA device .* Tensor Cores.*",
        r".*smaller than the logging interval.*",  # values are logged by steps of the run, whatever an epoch has
        r".*lr_scheduler\.step\(\).*",  # Lightning calls them in order
        r".*module\(s\) in eval mode at the start of training.*",  # those that optimizer.freeze_backbone freezes
        r"(?s).*Grad strides do not match bucket view strides.*",  # depthwise convolutions under DDP; a copy is made
    ):
        warnings.filterwarnings("ignore", message=message)
