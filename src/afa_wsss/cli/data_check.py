"""``afa-data check`` and ``folder``, and how every word of ``afa-data`` prints what a check found."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from afa_wsss.api.data_check import CheckSettings, DataCheck, FolderSettings, check_data, check_folder
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say
from afa_wsss.cli.words import as_word
from afa_wsss.data.checks.dataset import Findings
from afa_wsss.errors import UserError
from afa_wsss.report.findings import facts_table, findings_table, splits_table

BAR = partial(track, transient=True)
"""A bar that is gone once it is full."""


def print_opened(root: Path, findings: Findings) -> None:
    """Prints what was understood, how much the splits hold, and what is wrong or doubtful before a file is decoded."""
    console = Console()
    if findings.facts:
        console.print(facts_table(findings.facts, root=root))
    if findings.counts:
        console.print(splits_table(findings.counts))
    problems = findings.all()
    if problems:
        console.print(findings_table(problems, root=root, where="labels and folders of"))


def print_check(check: DataCheck) -> None:
    """Prints what is wrong with files and splits, beside what ``print_opened`` has printed.

    Raises:
        UserError: Where training would fail.
    """
    problems = check.findings.all()
    if not problems:
        say("nothing wrong found")
        return
    known = set(check.findings.at_open)
    found_later = [problem for problem in problems if problem not in known]
    if found_later:
        Console().print(findings_table(found_later, root=check.root, where="files of"))
    levels = [problem.level for problem in problems]
    counted = (_count(levels.count(level), level) for level in ("error", "warning", "note") if level in levels)
    say(f"{', '.join(counted)}; all of them: {check.file}")
    if check.errors:
        raise UserError(
            f"need data without errors to train on, got {_count(check.errors, 'error')}; fix what the tables list"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def run_folder(composed: Composed[FolderSettings]) -> None:
    """Checks a user's own photos."""
    check = check_folder(composed.settings, progress=BAR, on_open=print_opened)
    print_check(check)
    words = [as_word("data.root", str(check.root))]
    if composed.settings.labels is not None:
        words.append(as_word("data.dataset.labels", composed.settings.labels))
    say(f"train on it: afa-train experiment=photos {' '.join(words)}")


def run_check(composed: Composed[CheckSettings]) -> None:
    """Checks the data of ``afa-train``."""
    print_check(check_data(composed.settings, progress=BAR, on_open=print_opened))
