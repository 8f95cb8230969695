"""Studies of real photos: ``python -m benchmarks.real COMMAND --help``.

- ``run``: trains a recipe for several seeds, on image labels or, with ``--oracle``, on true masks
- ``scores``: mean and spread of every prediction stage of such runs
- ``floor``: the classes' mean masks
- ``folds``: held-out photos dealt in folds, for training on their masks
- ``sweep``: CAM, CAM and PAR, walk, walk and PAR at every background score, from a finished checkpoint
- ``thresholds``: what ``auto`` finds without masks beside the best background scores, from a finished checkpoint
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from afa_wsss.errors import UserError
from benchmarks.real import floor, folds, runs, scores, sweep, thresholds

COMMANDS = {"run": runs, "scores": scores, "floor": floor, "folds": folds, "sweep": sweep, "thresholds": thresholds}


def main(words: Sequence[str] | None = None) -> None:
    """Runs one command; an error of the user's is one line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        about = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=about, description=about)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    settings, others = parser.parse_known_args(words)
    if others and (settings.run is not runs.run or others[0].startswith("-")):
        parser.error(f"unknown arguments: {' '.join(others)}")
    settings.words = others
    try:
        settings.run(settings)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
