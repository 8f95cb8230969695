"""``afa-tune``: compares settings of the labels on a finished checkpoint, in minutes; nothing is trained."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.progress import track
from rich.table import Table

from afa_wsss.api.tune import TuneSettings, tune
from afa_wsss.api.tuned import Choice, Found
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import SCORES_WIDTH, say, say_files
from afa_wsss.cli.shell import Command
from afa_wsss.data.loading.held_out import HeldOut
from afa_wsss.report.tables import plain_table

ROWS = 8
"""Walks that are printed; ``tune.json`` has all."""


def run_tuning(composed: Composed[TuneSettings]) -> float:
    """Prints the best settings beside those of the checkpoint, and what to expect of few masks.

    Returns:
        The best mIoU, in percent.
    """
    tuned = tune(composed.settings, progress=_bar)
    found = tuned.found
    console = Console(width=max(Console().width, SCORES_WIDTH))
    for table in (best_table(found), walks_table(found), *([expected_table(found)] if found.expected else [])):
        console.print(table)
    if not found.expected:
        say("too few photos with masks to say what to expect of fewer")
    kind = "from the CAM, without a walk" if found.leaves_out_walk else "after the walk"
    say(f"the best settings, for afa-train; labels {kind}:", style="bold")
    say(" ".join(found.words))
    say_files({"scores": tuned.written})
    return max(choice.miou for choice in found.best)


def _bar(photos: Iterable[HeldOut], total: int) -> Iterable[HeldOut]:
    return track(photos, description="tune", total=total, transient=True)


def best_table(found: Found) -> Table:
    """The checkpoint's settings and the best ones, labels from the CAM and after the walk."""
    table = plain_table(f"mIoU of pixel labels in percent, {found.photos} photos")
    for column in ("labels", "as trained", "best", "refined", "background"):
        table.add_column(column, justify="left" if column == "labels" else "right")
    for title, before, best in zip(("from the CAM", "after the walk"), found.before, found.best, strict=True):
        background = f"{before.background:g} -> {best.background:g}"
        refined = "yes" if best.name.endswith("par") else "no"
        table.add_row(title, f"{before.miou:.1f}", f"{best.miou:.1f}", refined, background)
    low, high = found.spread
    table.caption = f"another sample of as many photos gives {low:.1f} to {high:.1f} (90 %) for the best after the walk"
    table.caption_justify = "left"
    return table


def walks_table(found: Found) -> Table:
    """Walks at their best background scores."""
    table = plain_table("walks at their best background scores")
    for column in ("walk", "refined", "mIoU", "background", "photos"):
        table.add_column(column, justify="left" if column == "walk" else "right")
    for choice in found.walks[:ROWS]:
        table.add_row(*_walk_cells(choice))
    return table


def _walk_cells(choice: Choice) -> tuple[str, ...]:
    name, plus, _ = choice.name.partition("+")
    return name, "yes" if plus else "no", f"{choice.miou:.1f}", f"{choice.background:g}", str(choice.photos)


def expected_table(found: Found) -> Table:
    """What the masks of few photos lead to, on other photos."""
    table = plain_table("what to expect where few photos have masks: mIoU on other photos")
    for column in ("photos with masks", "mean", "90 % of draws", "over as trained", "worse than it"):
        table.add_column(column, justify="right")
    for each in found.expected:
        gain = "" if each.gain is None else f"{each.gain:+.1f}"
        worse = "" if each.worse is None else f"{each.worse:.0f} %"
        table.add_row(str(each.photos), f"{each.mean:.1f}", f"{each.low:.1f} to {each.high:.1f}", gain, worse)
    return table


COMMAND = Command("tune", TuneSettings, run_tuning)


def main() -> None:
    """Entry point of ``afa-tune``; ``data=PATH`` is short for ``data.root=PATH``."""
    words = sys.argv[1:]
    sys.argv[1:] = [f"data.root={word.removeprefix('data=')}" if word.startswith("data=") else word for word in words]
    COMMAND.run()


if __name__ == "__main__":
    main()
