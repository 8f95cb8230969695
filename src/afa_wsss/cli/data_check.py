"""``afa-data check`` and ``folder``, and how every word of ``afa-data`` prints what a check found."""

from __future__ import annotations

from rich.console import Console
from rich.progress import track

from afa_wsss.api.data_check import CheckSettings, DataCheck, FolderSettings, check_data, check_folder
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.words import as_word
from afa_wsss.errors import UserError
from afa_wsss.report.findings import facts_table, findings_table, splits_table


def say(line: str, *, style: str | None = None) -> None:
    """Prints a line without wrapping it: it may hold a path to copy."""
    Console().print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def print_check(check: DataCheck) -> None:
    """Prints how much the splits hold, and what is wrong with them.

    Raises:
        UserError: Where training would fail.
    """
    console, findings = Console(), check.findings
    if findings.facts:
        console.print(facts_table(findings.facts, root=check.root))
    if findings.counts:
        console.print(splits_table(findings.counts))
    problems = [problem for found in findings.problems.values() for problem in found]
    if not problems:
        say("nothing wrong found")
        return
    console.print(findings_table(problems, root=check.root))
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
    check = check_folder(composed.settings, progress=track)
    print_check(check)
    say(f"train on it: afa-train data=folder {as_word('data.root', str(check.root))}")


def run_check(composed: Composed[CheckSettings]) -> None:
    """Checks the data of ``afa-train``."""
    print_check(check_data(composed.settings, progress=track))
