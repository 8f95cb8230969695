"""What can be wrong with a data set, and two ways to tell of it: stop at the first, or gather all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from afa_wsss.errors import UserError

Level = Literal["error", "warning", "note"]
"""Training would fail; it would run and the result suffer; it is handled and good to know."""


class Problem(NamedTuple):
    """One thing that is wrong with one photo, mask, list or class.

    Attributes:
        kind: Two or three words that group alike problems in a table.
        name: Of the photo, list or class.
        told: One line: what was wanted, what came, what to do.
        level: How bad it is.
    """

    kind: str
    name: str
    told: str
    level: Level = "error"


Report = Callable[[Sequence[Problem]], None]
"""Is handed problems of one kind; see ``refuse``. ``list.extend`` gathers them."""


def refuse(problems: Sequence[Problem]) -> None:
    """Stops at the first error, telling how many there are.

    Raises:
        UserError: For problems that would make training fail.
    """
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more like it; afa-data check names all)" if len(errors) > 1 else ""
        raise UserError(errors[0].told + more)
