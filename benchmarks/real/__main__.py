"""Studies of real photos: ``python -m benchmarks.real COMMAND --help``.

sweep    CAM, CAM and PAR, walk, walk and PAR at every background score, from a finished checkpoint
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from afa_wsss.errors import UserError
from benchmarks.real import sweep

COMMANDS = {"sweep": sweep}


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
    settings = parser.parse_args(words)
    try:
        settings.run(settings)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
