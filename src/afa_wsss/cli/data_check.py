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
    """Prints what was understood, and how much the splits hold."""
    console = Console()
    if findings.facts:
        console.print(facts_table(findings.facts, root=root))
    if findings.counts:
        console.print(splits_table(findings.counts))


def print_check(check: DataCheck) -> None:
    """Prints what is wrong with the splits.

    Raises:
        UserError: Where training would fail.
    """
    problems = [problem for found in check.findings.problems.values() for problem in found]
    if not problems:
        say("nothing wrong found")
        return
    Console().print(findings_table(problems, root=check.root))
    levels = [problem.level for problem in problems]
    counted = (_count(levels.count(level), level) for level in ("error", "warning", "note") if level in levels)
    say(f"{', '.join(counted)}; all of them: {check.file}")
    if check.errors:
        raise UserError(
            f"need data without errors to train on, got {_count(check.errors, 'error')}; fix what the table lists"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def run_folder(composed: Composed[FolderSettings]) -> None:
    """Checks a user's own photos."""
    check = check_folder(composed.settings, progress=BAR, on_open=print_opened)
    print_check(check)
    say(f"train on it: afa-train data=folder {as_word('data.root', str(check.root))}")


def run_check(composed: Composed[CheckSettings]) -> None:
    """Checks the data of ``afa-train``."""
    print_check(check_data(composed.settings, progress=BAR, on_open=print_opened))
