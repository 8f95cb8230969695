from __future__ import annotations

from pathlib import Path

import pytest

from afa_wsss.data.checks.problems import Problem, raise_first
from afa_wsss.data.files.lists import keep_unique, raise_missing, stays_inside
from afa_wsss.errors import UserError


@pytest.mark.parametrize("name", ["../a", "a/../../b", "..", "/etc/passwd", "", ".", "..\\a"])
def test_names_that_leave_their_folder_are_refused(name: str) -> None:
    assert not stays_inside(name)
    found: list[Problem] = []
    assert keep_unique([name, "a"], Path("list.txt"), found.extend) == ["a"]
    assert found[0].message.startswith("need names of photos inside their folder, list.txt holds")
    with pytest.raises(UserError, match="need names of photos inside their folder"):
        keep_unique([name, "a"], Path("list.txt"), raise_first)


@pytest.mark.parametrize("name", ["2007_000032", "dog/1", "a..b", "naïve", "犬", "my dog"])
def test_other_names_are_accepted(name: str) -> None:
    assert stays_inside(name)


def test_missing_files_are_counted_and_the_first_are_named() -> None:
    raise_missing([], 6, what="photo", source=Path("train.txt"))
    missing = [Path(f"{index}.jpg") for index in range(1, 6)]
    message = r"^need every photo that train\.txt lists, 5 of 6 missing: 1\.jpg, 2\.jpg, 3\.jpg, \.\.\.; add them"
    with pytest.raises(UserError, match=message):
        raise_missing(missing, 6, what="photo", source=Path("train.txt"))
