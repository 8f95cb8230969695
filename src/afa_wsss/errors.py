"""The errors that the package raises for what a user gave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in what the user gave, in one line: what was wanted, what came, what to do.

    The message speaks of Python's arguments; a command adds the full names of its settings from ``arguments``, prints
    the line and exits with a code other than 0.

    Attributes:
        kind: What went wrong, for code that has to tell errors apart: ``"value"`` unless the place that raises it names
            another.
        arguments: The arguments that are wrong, each with a dot between its owners: ``("low", "high")``, and
            ``("supervision.low", "supervision.high")`` after it has passed ``argument("supervision")``.
    """

    def __init__(self, message: str, *, kind: str = "value", arguments: Sequence[str] = ()) -> None:
        """``message`` has no full stop at its end."""
        super().__init__(message)
        self.kind = kind
        self.arguments = tuple(arguments)

    def __reduce__(self) -> tuple[object, ...]:
        """So that loader workers can hand it on with its kind and arguments."""
        return _restored, (type(self), str(self), self.kind, self.arguments)


def _restored(kind_of_error: type[UserError], message: str, kind: str, arguments: tuple[str, ...]) -> UserError:
    return kind_of_error(message, kind=kind, arguments=arguments)


def named(error: UserError) -> str:
    """The message behind the arguments that are wrong, in one line."""
    message = " ".join(str(error).split())
    return f"{', '.join(error.arguments)}: {message}" if error.arguments else message


def described(value: object) -> str:
    """What came in place of something else, for a message: type and shape of a tensor or an array, or the class.

    Example:
        >>> described(None), described([1])
        ('NoneType', 'list')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ if shape is None or dtype is None else f"{dtype} of shape {tuple(shape)}"


@contextmanager
def argument(name: str) -> Iterator[None]:
    """Names the owner of the arguments of a ``UserError`` that is raised inside.

    An error without arguments gets the owner itself.

    Example:
        >>> try:
        ...     with argument("supervision"):
        ...         raise UserError("need low < high, got 0.6 and 0.5", arguments=("low", "high"))
        ... except UserError as error:
        ...     print(error.arguments)
        ('supervision.low', 'supervision.high')
    """
    try:
        yield
    except UserError as error:
        error.arguments = tuple(f"{name}.{inner}" for inner in error.arguments) or (name,)
        raise


@contextmanager
def about(name: str) -> Iterator[None]:
    """Names the argument of a ``UserError`` that is raised inside and names none itself."""
    try:
        yield
    except UserError as error:
        error.arguments = error.arguments or (name,)
        raise


def check_at_least_0(values: Mapping[str, float]) -> None:
    """Checks numbers by their arguments.

    Raises:
        UserError: For those that are negative, infinite or NaN.
    """
    _refuse({name: value for name, value in values.items() if not 0 <= value < math.inf}, "of at least 0")


def check_above_0(values: Mapping[str, float]) -> None:
    """Checks numbers by their arguments.

    Raises:
        UserError: For those that are 0, negative, infinite or NaN.
    """
    _refuse({name: value for name, value in values.items() if not 0 < value < math.inf}, "above 0")


def _refuse(wrong: Mapping[str, float], wanted: str) -> None:
    if wrong:
        got = " and ".join(str(value) for value in wrong.values())
        raise UserError(f"need {' and '.join(wrong)} {wanted}, got {got}", arguments=tuple(wrong))
