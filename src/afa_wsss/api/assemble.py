"""From plain data to typed settings and parts, as a checkpoint stores them and the commands compose them."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeVar, Union, get_args, get_origin

from afa_wsss.api.signatures import arguments_of, made_by_dataclass, readable_hints
from afa_wsss.errors import UserError, argument

Kind = TypeVar("Kind")

TARGET = "_target_"
"""Key of the class of a part; the other keys are its settings."""


def assemble(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """An instance of the dataclass ``kind``, its nested dataclasses and parts included.

    Nothing but a subclass of what a field declares is ever called, so that plain data from a file cannot run anything
    else: a field of type ``LabelMaker`` takes ``{"_target_": "package.MyLabelMaker", ...}`` and refuses every other
    target.

    Args:
        kind: A dataclass.
        values: Its fields by name, nested dataclasses as mappings; what is missing has its default, as has a part that
            is None where the field takes no None.

    Raises:
        UserError: For an unknown field, a part that cannot be imported or is of another kind, and what the dataclasses
            refuse; ``arguments`` says where.
    """
    hints = readable_hints(kind)
    known = [field.name for field in fields(kind) if field.init]  # type: ignore[arg-type]  # a dataclass
    unknown = [name for name in values if name not in known]
    if unknown:
        raise UserError(
            f"need fields of {kind.__name__} ({', '.join(known)}), got {', '.join(unknown)}",
            kind="unknown",
            arguments=unknown,
        )
    converted = {}
    for name, value in values.items():
        if value is None and isinstance(hints[name], type) and inspect.isabstract(hints[name]):
            continue
        with argument(name):
            converted[name] = convert(hints[name], value)
    return kind(**converted)


def convert(hint: Any, value: Any) -> Any:
    """``value`` as the annotation ``hint`` wants it: a dataclass, a part, a table of parts, a tuple, or as it is."""
    wanted = _without_none(hint)
    if isinstance(value, list):
        return tuple(value) if get_origin(wanted) is tuple else value
    if not isinstance(value, Mapping):
        return value
    if get_origin(wanted) in (dict, Mapping, types.MappingProxyType) or wanted in (dict, Mapping):
        inner = get_args(wanted)[1] if get_args(wanted) else Any
        return _table(inner, value)
    if TARGET in value:
        return part(value, wanted)
    if isinstance(wanted, type) and is_dataclass(wanted):
        return assemble(wanted, value)
    return dict(value)


def _table(inner: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Entries by name; one that is None is left out."""
    table = {}
    for name, value in values.items():
        with argument(str(name)):
            table[str(name)] = convert(inner, value)
    return {name: value for name, value in table.items() if value is not None}


def _without_none(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        return inner[0] if len(inner) == 1 else Any
    return hint


def part(values: Mapping[str, Any], wanted: Any) -> Any:
    """The part that ``values`` describe: an instance of ``wanted``, or for any other annotation its class bound.

    Args:
        values: ``_target_`` and the settings of its constructor.
        wanted: An abstract class or dataclass, whose subclass the target must be; for anything else the class is not
            called, and comes with its settings as ``functools.partial``.

    Raises:
        UserError: Where the target cannot be imported, is no class, or is of another kind.
    """
    target = find_class(str(values[TARGET]))
    settings = {name: value for name, value in values.items() if name != TARGET}
    if wanted is Any or not isinstance(wanted, type):
        return partial(target, **settings)
    if not issubclass(target, wanted):
        raise UserError(
            f"need a subclass of {wanted.__module__}.{wanted.__qualname__}, got {values[TARGET]}",
            kind="target",
            arguments=(TARGET,),
        )
    if made_by_dataclass(target):
        return assemble(target, settings)
    hints = {one.name: one.hint for one in arguments_of(target)}
    return call(target, {name: convert(hints.get(name, Any), value) for name, value in settings.items()})


def find_class(path: str) -> type:
    """The class at ``package.module.Class``.

    Raises:
        UserError: Where there is none.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"need a class that can be imported, got {path} ({error}); is its folder on PYTHONPATH?",
            kind="target",
            arguments=(TARGET,),
        ) from error
    if not isinstance(found, type):
        raise UserError(f"need the path of a class, as package.module.Class; got {path}", kind="target")
    return found


def call(target: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """``target(**settings)``; settings that it does not take are named.

    Raises:
        UserError: For unknown or missing settings.
    """
    try:
        inspect.signature(target).bind(**settings)
    except TypeError as error:
        name = getattr(target, "__name__", str(target))
        raise UserError(f"need the settings of {name}, got others: {error}", kind="unknown") from error
    return target(**settings)
