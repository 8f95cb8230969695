"""From a composed configuration to typed settings: parts completed by their defaults, everything checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from afa_wsss.api.assemble import TARGET, assemble, find_class
from afa_wsss.cli import photo_values, sweep
from afa_wsss.cli.leaves import leaves
from afa_wsss.cli.messages import message_of_setting, nearest
from afa_wsss.cli.schema import path_of, schema_of, typed_part
from afa_wsss.errors import UserError, argument
from afa_wsss.training.run_files import AUTO, newest_run

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Composed(Generic[Settings]):
    """The configuration of one job.

    Attributes:
        settings: Typed, for the api.
        config: The same as plain data.
        linked: ``config`` with references between settings, so that a run can be started again with some changed.
    """

    settings: Settings
    config: dict[str, Any]
    linked: dict[str, Any]


def register(name: str, kind: type, parts: Mapping[str, type] | None = None) -> None:
    """Puts the schema of a command, and those of the parts that conf/ names, where Hydra looks for them.

    Args:
        name: Name of the command's YAML file.
        kind: Dataclass of its settings.
        parts: Classes by their place: ``part/AffinityLoss``, or ``supervision/refinement/par``.
    """
    store = ConfigStore.instance()
    store.store(name=f"{name}_schema", node=schema_of(kind))
    for place, part in (parts or {}).items():
        group, _, option = place.rpartition("/")
        # A class of one's own in its place may have settings beside these; typed_part knows them, Hydra cannot.
        node = OmegaConf.structured(schema_of(part, part=True), flags={"struct": False})
        store.store(name=option, group=group, node=node)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True, use_cache=True)
    photo_values.register_resolvers()
    sweep.register_resolvers()


def _run_name(*parts: Any) -> str:
    """Words joined by ``_``; a class of one's own by its name."""
    words = [str(part[TARGET]).rpartition(".")[2] if isinstance(part, DictConfig) else str(part) for part in parts]
    return "_".join(words)


def _run_folder(name: str, resume: str | None, time: str) -> str:
    """Where a run goes that names no folder: named by time, or with ``resume=auto`` that of the newest run."""
    return str(newest_run(Path("outputs") / name) if resume == AUTO else Path("outputs") / name / time)


def settings_of(config: DictConfig, kind: type[Settings], *, output_dir: str | None = None) -> Composed[Settings]:
    """Checks and completes a configuration, and makes the typed settings.

    Args:
        config: As Hydra composed it.
        kind: Dataclass of the settings.
        output_dir: Folder of this job, where Hydra chose one.

    Raises:
        UserError: For an unknown setting, a value of another type or out of range, a missing value.
    """
    config = OmegaConf.create(config)
    given = OmegaConf.to_container(config, resolve=False)
    schema: Any = kind
    OmegaConf.merge(OmegaConf.structured(schema_of(schema)), given)  # what a "+" added must be in the schema, too
    _refuse_missing(config, leave="supervision.")  # whose class may have a default for it
    with open_dict(config):
        for owner, key, name in _parts(config):
            _complete(owner, key, name)
        _refuse_missing(config)
        photo_values.compute(config)
        linked: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]  # a dict
        if output_dir is not None:
            config.output_dir = output_dir
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]  # a dict
    for values in (plain, linked):
        _absolute_root(values)
    _seed(plain)
    settings = assemble(kind, {name: _made(kind, name, value) for name, value in plain.items()})
    return Composed(settings, plain, linked)


def _seed(values: Mapping[str, Any]) -> None:
    """Seeds what parts draw when they are made, as the first weights of a loss of one's own; training seeds anew."""
    if {"seed", *TABLES} <= values.keys():
        from afa_wsss.training.trainer import seed_everything  # on use: commands that train nothing need no torch

        seed_everything(values["seed"])


TABLES = ("loss", "callbacks", "logger")
"""Settings that are tables of parts by name."""


def _parts(config: DictConfig) -> Iterator[tuple[DictConfig, str, str]]:
    """Where parts with checked settings are: the node that holds each, its key, its full name; parts of a part last."""
    for holder, key in (("", "supervision"), ("data", "dataset"), ("model", "backbone")):
        owner = OmegaConf.select(config, holder) if holder else config
        if isinstance(owner, DictConfig) and isinstance(owner.get(key), DictConfig):
            yield owner, key, f"{holder}.{key}".lstrip(".")
    maker = config.get("supervision")
    for key in map(str, maker if isinstance(maker, DictConfig) else ()):
        if not OmegaConf.is_missing(maker, key) and isinstance(maker[key], DictConfig) and TARGET in maker[key]:
            yield maker, key, f"supervision.{key}"
    losses = config.get("loss")
    for key in map(str, losses if isinstance(losses, DictConfig) else ()):
        if isinstance(losses[key], DictConfig):
            yield losses, key, f"loss.{key}"


def _complete(owner: DictConfig, key: str, name: str) -> None:
    """Puts the checked and completed settings of a part in place of those that were given."""
    node = owner[key]
    if TARGET not in node:
        others = [str(other) for other in owner if isinstance(owner[other], DictConfig) and TARGET in owner[other]]
        raise UserError(f"need {TARGET}, the class of {key}; {nearest(key, others)}", kind="target", arguments=(name,))
    with argument(name):
        kind = find_class(str(node[TARGET]))
    try:
        with argument(name):
            owner[key] = typed_part(kind, node)
    except OmegaConfBaseException as error:
        raise UserError(message_of_setting(error, below=name)) from error


def _refuse_missing(config: DictConfig, *, leave: str | None = None) -> None:
    """Refuses settings without a value, but for those whose names begin with ``leave``."""
    names = sorted(name for name, value in leaves(config).items() if value == MISSING)
    missing = [name for name in names if leave is None or not name.startswith(leave)]
    if missing:
        advice = " ".join(f"{key}=..." for key in missing)
        raise UserError(f"need a value for {', '.join(missing)}, got none; add {advice} to the command")


def _absolute_root(values: dict[str, Any]) -> None:
    """The folder of the data from the root of the file system, so that a checkpoint finds it from any folder."""
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("root"), str) and "${" not in data["root"]:
        data["root"] = str(Path(data["root"]).expanduser().absolute())


def _made(kind: type, name: str, value: Any) -> Any:
    """Tables of parts with their parts made: what Hydra can instantiate and is what the field of ``kind`` holds."""
    if name not in TABLES or not isinstance(value, dict):
        return value
    wanted = get_args(get_type_hints(kind)[name])[1]
    table: dict[str, Any] = {}
    for key, settings in value.items():
        if settings is not None:
            _refuse_without_class(f"{name}.{key}", settings, value)
            table[key] = _instance(f"{name}.{key}", settings)
            if not isinstance(table[key], wanted):
                raise UserError(
                    f"need a subclass of {path_of(wanted)}, got {type(table[key]).__name__}",
                    kind="target",
                    arguments=(f"{name}.{key}",),
                )
    return table


def _refuse_without_class(name: str, settings: Any, table: Mapping[str, Any]) -> None:
    """Refuses an entry of a table of parts that names no class."""
    if isinstance(settings, dict) and TARGET in settings:
        return
    key = name.rpartition(".")[2]
    others = [one for one, node in table.items() if isinstance(node, dict) and TARGET in node]
    message = f"need {TARGET}, the class of {key}; {nearest(key, others)}"
    if not isinstance(settings, dict):
        message = f"need a class and its settings, got {settings}; give {name}.{TARGET}, or null to leave it out"
    raise UserError(message, kind="target", arguments=(name,))


def _instance(name: str, settings: Any) -> Any:
    """A part of a table; what it refuses is named by its full name."""
    make: Callable[..., Any] = instantiate
    refused: UserError | None = None
    try:
        made = make(settings, _convert_="all")
    except InstantiationException as error:
        refused = _user_error(error)
        if refused is None:
            raise
    if refused is not None:  # outside the handler: its chain leads through Hydra's error back to itself
        with argument(name):
            raise UserError(str(refused), kind=refused.kind, arguments=refused.arguments)
    return made


def _user_error(error: BaseException | None) -> UserError | None:
    """The mistake that led to an error, if it was one."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error
