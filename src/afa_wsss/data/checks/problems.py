"""What can be wrong with a data set, and two ways to report it: raise at the first error, or collect all problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from afa_wsss.errors import UserError

Level = Literal["error", "warning", "note"]
"""``error``: training would fail. ``warning``: it would run, with a worse result. ``note``: handled, good to know."""


class Problem(NamedTuple):
    """One thing that is wrong with one photo, mask, list or class.

    Attributes:
        kind: Two or three words; problems of one kind share a row in tables.
        name: Name of the photo, list or class.
        message: One line: what was needed, what was found, what to do.
        level: How bad it is.
    """

    kind: str
    name: str
    message: str
    level: Level = "error"


Report = Callable[[Sequence[Problem]], None]
"""Called with problems of one kind: ``raise_first`` raises, ``list.extend`` collects them."""


def in_few_lines(problems: Sequence[Problem], most: int = 10) -> list[str]:
    """One line for each kind of problem: the first, and how many more there are; at most ``most`` lines."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    lines = [
        alike[0].message + (f" ({len(alike) - 1} more of this kind)" if len(alike) > 1 else "")
        for alike in kinds.values()
    ]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{len(lines) - most + 1} more kinds of warnings; afa-data check lists all"]


def raise_first(problems: Sequence[Problem]) -> None:
    """Raises the first error and says how many more there are; warnings and notes pass.

    Raises:
        UserError: Where any of the problems would make training fail.
    """
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more of this kind; afa-data check lists all)" if len(errors) > 1 else ""
        raise UserError(errors[0].message + more)
