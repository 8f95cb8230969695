"""``afa-predict``: labels every pixel of one's own photos."""

from __future__ import annotations

from functools import partial

from rich.progress import track

from afa_wsss.api.predict import Prediction, predict
from afa_wsss.api.settings import PredictSettings
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say, say_files
from afa_wsss.cli.shell import Command
from afa_wsss.cli.words import as_word
from afa_wsss.errors import UserError


def run_prediction(composed: Composed[PredictSettings]) -> None:
    """Writes a palette PNG and an overlay for each photo, and an index.

    Raises:
        UserError: After the last photo, for those that could not be read.
    """
    bar = partial(track, description="predict")
    found = predict(composed.settings, progress=bar, started=_say_what_is_done, stopped=_say_how_to_go_on)
    say(f"{_photos(found.photos)} labeled{f', {found.done_before} were done before' if found.done_before else ''}")
    if found.photos or found.done_before:
        say_files(
            {"masks": found.masks, "overlays": found.overlays, "index": found.predictions, "legend": found.legend},
        )
    if found.gone:
        say(f"{_photos(found.gone)} no longer in the input: left out of the index, masks stay until overwrite=true")
    for line in found.skipped:
        say(line)
    if found.failed:
        more = f" ({len(found.failed) - 1} more like it, named in {found.predictions})" if len(found.failed) > 1 else ""
        raise UserError(found.failed[0] + more)


def _say_what_is_done(found: Prediction) -> None:
    if found.done_before:
        say(f"goes on: {_photos(found.done_before)} done before")


def _say_how_to_go_on(found: Prediction) -> None:
    say(f"stopped after {_photos(found.photos)}; go on with: {as_word('output_dir', str(found.folder))}")


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"


COMMAND = Command("predict", PredictSettings, run_prediction)


def main() -> None:
    """Entry point of ``afa-predict``."""
    COMMAND.run()


if __name__ == "__main__":
    main()
