"""Schemas for Hydra, derived from the settings of the package: types and defaults stand there alone.

OmegaConf makes frozen dataclasses read-only, so each gets a mutable twin with the same fields. A part (a loss, a label
maker, ...) has its settings in its dataclass or in the signature of its ``__init__``; its twin also holds ``_target_``.
"""

from __future__ import annotations

import copyreg
import importlib
import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, field, fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from omegaconf import MISSING, DictConfig, OmegaConf

from afa_wsss.api.signatures import Argument, arguments_of, made_by_dataclass, readable_hints
from afa_wsss.errors import UserError

PRIMITIVES = (int, float, bool, str, bytes, Path)
GIVEN = ("self", "root", "split", "with_masks", "report")
"""Arguments of a part that the package gives it; they are no settings."""

ASKED_FOR = "asked_for"
"""In the metadata of a field: commands ask for its value, callers of the library may leave it out."""

# Schemas go to the processes of a sweep and back; dataclasses compare this sentinel by identity: it has to stay one.
copyreg.pickle(type(NO_DEFAULT), lambda _: "MISSING")

Twin = tuple[str, Any, Any]
"""Name, type and ``dataclasses.field`` of a field."""


@cache
def schema_of(kind: Any, *, part: bool = False) -> type:
    """A mutable dataclass with the settings of ``kind``, as OmegaConf understands them.

    Args:
        kind: A dataclass, or a class whose ``__init__`` takes settings.
        part: Whether ``_target_`` names the class.
    """
    if not isinstance(kind, type):
        raise TypeError(f"need a class, got {kind!r}")
    own = _of_dataclass(kind) if made_by_dataclass(kind) else _of_signature(kind)
    target: list[Twin] = [("_target_", str, field(default=path_of(kind)))] if part else []
    return make_dataclass(f"{kind.__name__}Schema", [*target, *own])


def path_of(kind: type) -> str:
    """Where a class is imported from: the package that exports it, else its module."""
    package, _, _ = kind.__module__.rpartition(".")
    exported = getattr(importlib.import_module(package), kind.__name__, None) if package else None
    return f"{package if exported is kind else kind.__module__}.{kind.__qualname__}"


def _of_dataclass(kind: type) -> list[Twin]:
    hints = readable_hints(kind)
    return [(one.name, *_field(hints[one.name], one)) for one in fields(kind) if one.init]


def _field(hint: Any, source: Field[Any]) -> tuple[Any, Any]:
    """Type and default of a dataclass's field."""
    if "changes" in source.metadata:
        return _changes(source.metadata["changes"], source.metadata["names"])
    if _is_seam(hint):
        return Any, field(default=MISSING)  # a group of conf/ chooses; else the part's own default counts
    default: Any = MISSING
    if source.default is not NO_DEFAULT and not source.metadata.get(ASKED_FOR):
        default = source.default
    elif source.default_factory is not NO_DEFAULT:
        default = source.default_factory()
    return _entry(hint, default)


def _changes(kind: type, names: Sequence[str]) -> tuple[Any, Any]:
    """Some fields of a dataclass, each None by default: what is stored elsewhere is kept."""
    hints = readable_hints(kind)
    twin = make_dataclass(f"{kind.__name__}Changes", [(name, *_change(hints[name])) for name in names])
    return twin, field(default_factory=twin)


def _change(hint: Any) -> tuple[Any, Any]:
    """Type and default of a field that may change; of a dataclass inside, each field may."""
    if isinstance(hint, type) and is_dataclass(hint) and not _is_seam(hint):
        return _changes(hint, tuple(one.name for one in fields(hint)))
    return _optional(accepted(hint)), field(default=None)


def _of_signature(kind: type) -> list[Twin]:
    chosen = [one for one in arguments_of(kind) if one.name not in GIVEN]
    return [(one.name, *_argument(one)) for one in chosen]


def _argument(one: Argument) -> tuple[Any, Any]:
    """Type and default of a keyword of ``__init__``."""
    if isinstance(one.default, Field):
        return _field(one.hint, one.default)
    return _entry(one.hint, MISSING if one.default is inspect.Parameter.empty else one.default)


def _entry(hint: Any, default: Any) -> tuple[Any, Any]:
    """Type and field of a setting; a default that can be changed is made anew for each configuration."""
    if isinstance(default, bool | int | float | str | None):
        return accepted(hint), field(default=default)
    return accepted(hint), field(default_factory=lambda: _plain(default))


def _plain(value: Any) -> Any:
    """A default as OmegaConf takes it: dataclasses as their twins, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        schema = schema_of(type(value))
        kept = [one.name for one in fields(value) if one.init and not one.metadata.get(ASKED_FOR)]
        return schema(**{name: _plain(getattr(value, name)) for name in kept})
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def accepted(hint: Any) -> Any:
    """The annotation that OmegaConf takes for ``hint``; ``Any`` where it has none."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in PRIMITIVES:
        return hint
    if origin in (Union, types.UnionType):
        others = [one for one in inner if one is not type(None)]
        return _optional(accepted(others[0])) if len(others) == 1 else Any
    if origin in (list, tuple, Sequence) and inner and accepted(inner[0]) in PRIMITIVES:
        return list[inner[0]]  # type: ignore[valid-type]  # an annotation made at run time
    if origin in (dict, Mapping):
        return dict[str, Any]
    if isinstance(hint, type) and is_dataclass(hint) and not _is_seam(hint):
        return schema_of(hint)
    return Any


def _optional(hint: Any) -> Any:
    return hint if hint is Any else hint | None


def _is_seam(hint: Any) -> bool:
    """Whether a field takes any subclass of an abstract class."""
    return isinstance(hint, type) and inspect.isabstract(hint)


def typed_part(kind: type, values: DictConfig) -> DictConfig:
    """``values`` of a part, checked against its settings and completed by its defaults.

    Raises:
        OmegaConfBaseException: For an unknown setting, or a value of another type.
    """
    schema = OmegaConf.structured(schema_of(kind, part=True))
    typed: DictConfig = OmegaConf.merge(schema, _without_old_defaults(values, schema))  # type: ignore[assignment]  # of two
    return _with_default_parts(kind, typed)


def _with_default_parts(kind: type, typed: DictConfig) -> DictConfig:
    """``typed`` with the class's own default, yet to be checked, for each part inside it whose class nothing chose.

    Raises:
        UserError: For a part that is null.
    """
    hints = readable_hints(kind)
    for one in fields(kind) if is_dataclass(kind) else ():
        if not one.init or not _is_seam(hints[one.name]):
            continue
        given = None if OmegaConf.is_missing(typed, one.name) else typed[one.name]
        chosen = isinstance(given, DictConfig) and "_target_" in given
        if given is None and not OmegaConf.is_missing(typed, one.name):
            raise UserError(f"need a class, got null; leave {one.name} out for the default", arguments=(one.name,))
        if not chosen and one.default_factory is not NO_DEFAULT:
            default = one.default_factory()
            typed[one.name] = {"_target_": path_of(type(default)), **vars(_plain(default)), **(given or {})}
    return typed


def _without_old_defaults(values: DictConfig, schema: DictConfig) -> dict[str, Any]:
    """``values`` as plain data; where ``_target_`` replaced a class, without the defaults that only the old one has."""
    given: dict[str, Any] = OmegaConf.to_container(values, resolve=False)  # type: ignore[assignment]  # a dict
    before = OmegaConf.get_type(values)
    if before is None or not is_dataclass(before):
        return given
    defaults = OmegaConf.structured(before)
    old: dict[str, Any] = OmegaConf.to_container(defaults, resolve=False)  # type: ignore[assignment]  # a dict
    return {name: value for name, value in given.items() if name in schema or name not in old or value != old[name]}
