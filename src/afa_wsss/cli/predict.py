"""``afa-predict``: labels every pixel of one's own photos."""

from __future__ import annotations

from functools import partial

from rich.progress import track

from afa_wsss.api.predict import predict
from afa_wsss.api.settings import PredictSettings
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say_files
from afa_wsss.cli.shell import Command
from afa_wsss.errors import UserError


def run_prediction(composed: Composed[PredictSettings]) -> None:
    """Writes a palette PNG and an overlay for each photo.

    Raises:
        UserError: After the last photo, for those that could not be read.
    """
    found = predict(composed.settings, progress=partial(track, description="predict"))
    if found.photos:
        say_files({"masks": found.masks, "overlays": found.overlays})
    if found.failed:
        more = f" ({len(found.failed) - 1} more like it)" if len(found.failed) > 1 else ""
        raise UserError(found.failed[0] + more)


COMMAND = Command("predict", PredictSettings, run_prediction)


def main() -> None:
    """Entry point of ``afa-predict``."""
    COMMAND.run()


if __name__ == "__main__":
    main()
