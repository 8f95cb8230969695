"""What the constructor of a part takes: read from its annotations, also where type checkers alone see their names."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints


class Argument(NamedTuple):
    """A keyword of a constructor.

    Attributes:
        name: Its name.
        hint: Its annotation; Any where there is none that can be read.
        default: Its default, the ``Field`` of a dataclass; ``inspect.Parameter.empty`` where it has to be given.
    """

    name: str
    hint: Any
    default: Any


def made_by_dataclass(kind: type) -> bool:
    """Whether ``__init__`` is the one that ``@dataclass`` wrote, for the class itself or for one that it inherits from.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Base:
        ...     low: float = 0.35
        >>> class Own(Base):
        ...     def __init__(self, *, scale: float = 1.0, **others) -> None:
        ...         super().__init__(**others)
        >>> made_by_dataclass(Base), made_by_dataclass(Own)
        (True, False)
    """
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    if "__dataclass_fields__" not in vars(owner):
        return False
    taken = [*inspect.signature(vars(owner)["__init__"]).parameters][1:]
    return set(taken) == {one.name for one in fields(owner) if one.init}  # else it was written by hand


def arguments_of(kind: type) -> list[Argument]:
    """The keywords that ``kind`` can be called with.

    Where ``__init__`` has ``**others``, those of the class that it inherits from count too, and so on.

    Example:
        >>> class Base:
        ...     def __init__(self, *, weight: float = 1.0) -> None: ...
        >>> class Own(Base):
        ...     def __init__(self, *, scale: float = 2.0, **others) -> None:
        ...         super().__init__(**others)
        >>> [one.name for one in arguments_of(Own)]
        ['weight', 'scale']
    """
    found: dict[str, Argument] = {}
    for base in (one for one in kind.__mro__ if inspect.isfunction(vars(one).get("__init__"))):
        own, takes_more = _own_arguments(base)
        found = {one.name: one for one in own} | found
        if not takes_more:
            break
    return list(found.values())


def _own_arguments(kind: type) -> tuple[list[Argument], bool]:
    """The keywords that the ``__init__`` of ``kind`` names, and whether it takes others."""
    if made_by_dataclass(kind):
        hints = readable_hints(kind)
        return [Argument(one.name, hints[one.name], one) for one in fields(kind) if one.init], False
    init: Any = vars(kind)["__init__"]
    hints, given = readable_hints(init), list(inspect.signature(init).parameters.values())[1:]
    named = [one for one in given if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    own = [Argument(one.name, hints.get(one.name, Any), one.default) for one in named]
    return own, any(one.kind == one.VAR_KEYWORD for one in given)


def readable_hints(owner: Any) -> dict[str, Any]:
    """Annotations of a class or a function by name; Any for one that is imported for type checkers alone.

    Example:
        >>> def init(self, size: int, table: "not_imported.Table") -> None: ...
        >>> readable_hints(init)["size"], readable_hints(init)["table"]
        (<class 'int'>, typing.Any)
    """
    try:
        return get_type_hints(owner)
    except (NameError, AttributeError, TypeError):
        bases = reversed(owner.__mro__) if isinstance(owner, type) else [owner]
        return {
            name: _readable(text, getattr(base, "__globals__", None) or vars(sys.modules[base.__module__]))
            for base in bases
            for name, text in inspect.get_annotations(base).items()
        }


def _readable(annotation: Any, names: dict[str, Any]) -> Any:
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"one": annotation}), globalns=names)["one"]
    except (NameError, AttributeError, TypeError):
        return Any
