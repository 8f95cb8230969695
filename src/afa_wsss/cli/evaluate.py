"""``afa-eval``: scores a checkpoint, which needs nothing beside it, and writes masks, pictures and a report."""

from __future__ import annotations

from afa_wsss.api.evaluate import Evaluation, evaluate
from afa_wsss.api.settings import ScoreSettings
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say_files, say_scores
from afa_wsss.cli.shell import Command


def run_evaluation(composed: Composed[ScoreSettings]) -> float | None:
    """Scores the segmentation branch.

    Returns:
        ``val/miou`` in percent; None without masks.
    """
    found = evaluate(composed.settings)
    show(found)
    return found.metrics.get("val/miou")


def show(found: Evaluation) -> None:
    """Scores and files as tables, in the first process alone."""
    if found.written:
        say_scores(found.metrics, found.stages, found.warnings, classes=True)
        say_files(found.written)


COMMAND = Command("evaluate", ScoreSettings, run_evaluation, together=True)


def main() -> None:
    """Entry point of ``afa-eval``."""
    COMMAND.run()


if __name__ == "__main__":
    main()
