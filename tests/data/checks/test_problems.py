from __future__ import annotations

import pytest

from afa_wsss.data.checks.problems import Problem, raise_first
from afa_wsss.errors import UserError


def test_warnings_and_notes_are_not_raised() -> None:
    raise_first([Problem("odd", "a", "message", "warning"), Problem("odd", "a", "message", "note")])
    with pytest.raises(UserError, match=r"^message$"):
        raise_first([Problem("odd", "a", "message")])


def test_the_first_error_is_raised_with_the_number_of_others() -> None:
    problems = [Problem("odd", "a", "first"), Problem("odd", "b", "seen", "note"), Problem("odd", "c", "second")]
    with pytest.raises(UserError, match=r"^first \(1 more of this kind; afa-data check lists all\)$"):
        raise_first(problems)
