"""What was found in a data set, as tables for the terminal and as plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.table import Table
from rich.text import Text

from afa_wsss.report.tables import plain_table

STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
"""Style of each level of findings in the terminal, worst first."""

NAMED = 5
"""How many findings of a kind are named after the first."""


@runtime_checkable
class Finding(Protocol):
    """What ``afa_wsss.data.checks.problems.Problem`` has."""

    @property
    def kind(self) -> str:
        """Two or three words; findings of one kind share a row."""

    @property
    def name(self) -> str:
        """Name of the photo, list or class."""

    @property
    def message(self) -> str:
        """One line: what was needed, what was found, what to do."""

    @property
    def level(self) -> str:
        """One of ``STYLES``."""


def findings_table(findings: Sequence[Finding], *, root: Path, where: str = "") -> Table:
    """One row per kind of finding, worst first: their number, and the first, its paths relative to ``root``.

    Args:
        findings: What was found.
        root: Folder of the data.
        where: What was looked at, for the title, such as ``files of``.
    """
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.level, finding.kind].append(finding)
    table = plain_table(f"found in {where} {root}" if where else f"found in {root}")
    table.add_column("level")
    table.add_column("kind", min_width=12)
    table.add_column("count", justify="right")
    table.add_column("first", overflow="fold")
    for (level, kind), alike in sorted(groups.items(), key=lambda group: list(STYLES).index(group[0][0])):
        table.add_row(Text(level, style=STYLES[level]), kind, str(len(alike)), _first(alike, root))
    return table


def _first(alike: Sequence[Finding], root: Path) -> Text:
    """The message of the first, and the names of some more."""
    others = list(dict.fromkeys(finding.name for finding in alike if finding.name != alike[0].name))
    more = f"\nalso {', '.join(others[:NAMED])}{', ...' if len(others) > NAMED else ''}" if others else ""
    return Text(alike[0].message.replace(f"{root}/", "")) + Text(more, style="dim")


def facts_table(facts: Sequence[tuple[str, str]], *, root: Path) -> Table:
    """What was understood of a data set, and how: one row for each fact."""
    table = plain_table(f"understood of {root}")
    table.show_header = False
    table.add_column("what", style="dim")
    table.add_column("how", overflow="fold")
    for what, how in facts:
        table.add_row(what, Text(how))
    return table


def splits_table(splits: Mapping[str, tuple[int, int, Mapping[str, int]]]) -> Table:
    """Number of photos, of masks, and of photos with each class.

    Args:
        splits: Number of photos, number of masks and number of photos by class, by split.
    """
    table = plain_table("photos")
    table.add_column("")
    for split in splits:
        table.add_column(split, justify="right")
    table.add_row("photos", *(str(photos) for photos, _, _ in splits.values()))
    table.add_row("masks", *(str(masks) for _, masks, _ in splits.values()), end_section=True)
    for name in dict.fromkeys(name for _, _, classes in splits.values() for name in classes):
        table.add_row(name, *(str(classes.get(name, 0)) if classes else "" for _, _, classes in splits.values()))
    return table


def findings_as_data(
    splits: Mapping[str, tuple[int, int, Mapping[str, int]]],
    findings: Mapping[str, Sequence[Finding]],
    facts: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """All tables as plain data for JSON.

    Args:
        splits: Number of photos, number of masks and number of photos by class, by split.
        findings: Findings by split.
        facts: What was understood, and how.
    """
    levels = [finding.level for found in findings.values() for finding in found]
    return {
        "errors": levels.count("error"),
        "warnings": levels.count("warning"),
        "notes": levels.count("note"),
        "understood": dict(facts),
        "splits": {
            split: {"photos": photos, "masks": masks, "classes": dict(classes)}
            for split, (photos, masks, classes) in splits.items()
        },
        "problems": [
            {
                "split": split,
                "level": finding.level,
                "kind": finding.kind,
                "name": finding.name,
                "message": finding.message,
            }
            for split, found in findings.items()
            for finding in found
        ],
    }
