"""Tables of the studies, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 160
"""Columns of a table in a file or pipe, whose width nobody knows."""

Rows = Sequence[tuple[str, Sequence[float | str | None]]]
"""Names of the rows and their cells; None where there is nothing to show."""


def show_figures(title: str, head: Sequence[str], rows: Rows) -> None:
    """Prints a title and its table, with a line before them."""
    console = console_of()
    console.print(f"\n[bold]{title}[/]", soft_wrap=True)
    console.print(figures(head, rows))


def console_of() -> Console:
    """The terminal, or a wide one where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def cell(value: float | str | None) -> str:
    """A number with one decimal; nothing for None."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.1f}"


def figures(head: Sequence[str], rows: Rows) -> Table:
    """A table with a name and figures in each row."""
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column(head[0])
    for name in head[1:]:
        table.add_column(name, justify="right")
    for name, cells in rows:
        table.add_row(name, *map(cell, cells))
    return table


def markdown(head: Sequence[str], rows: Rows) -> str:
    """The same as a Markdown table."""
    lines = [tuple(head), ("---", *["---:"] * (len(head) - 1))]
    lines += [(name, *map(cell, cells)) for name, cells in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
