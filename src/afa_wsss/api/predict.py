"""Labels every pixel of one's own photos, and writes masks and overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from afa_wsss.api.segmenter import load
from afa_wsss.api.settings import PredictSettings, given
from afa_wsss.data.files.photos import RUN_FOLDERS, is_photo
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.inference import InferenceSettings


class Prediction(NamedTuple):
    """A finished prediction.

    Attributes:
        folder: Folder of ``masks`` and ``overlays``.
        photos: Number of photos that were labeled.
        failed: Messages of photos that could not be read.
    """

    folder: Path
    photos: int
    failed: list[str]

    @property
    def masks(self) -> Path:
        """Palette PNGs, one for each photo."""
        return self.folder / "masks"

    @property
    def overlays(self) -> Path:
        """Pictures of the masks over the photos."""
        return self.folder / "overlays"


def predict(settings: PredictSettings, *, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Prediction:
    """Writes a palette PNG and an overlay for each photo; one that cannot be read does not stop the others.

    Args:
        settings: Checkpoint, photos, device.
        progress: Wraps the photos as they are done.

    Raises:
        UserError: For a checkpoint that cannot be read, a device that is not there, and where there are no photos.
    """
    with argument("checkpoint"):
        segmenter = load(settings.checkpoint, settings.device)
    with argument("inference"):
        segmenter.inference = replace(segmenter.inference, **given(InferenceSettings, settings.inference))
    with argument("data"):
        changed = {"max_side": segmenter.max_side} | given(DataSettings, settings.data)
        segmenter.max_side = DataSettings(**changed).max_side
    with argument("input"):
        photos = list_photos(Path(settings.input).expanduser())
    result = Prediction(Path(settings.output_dir), 0, [])
    for path, name in progress(photos.items()):
        try:
            found = segmenter.predict(path)
        except UserError as error:
            result.failed.append(str(error))
            continue
        found.save(result.masks / f"{name}.png")
        picture = result.overlays / f"{name}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        found.overlay().save(picture, quality=92)
        result = result._replace(photos=result.photos + 1)
    return result


def list_photos(source: Path) -> dict[Path, Path]:
    """A photo itself, or the photos of a folder and of the folders in it, without hidden ones and pictures of runs.

    Returns:
        Name of each in the output: its place in the folder without suffix, unless photos differ in nothing else.

    Raises:
        UserError: Where there are none.
    """
    if source.is_file():
        return {source: Path(source.stem)}
    photos = {path: path.relative_to(source) for path in sorted(source.rglob("*"))}
    photos = {
        path: place
        for path, place in photos.items()
        if is_photo(place) and place.parts[0] not in RUN_FOLDERS and path.is_file()
    }
    if not photos:
        raise UserError(f"need a photo or a folder of photos, found none at {source}", kind="missing")
    alike = Counter(place.with_suffix("") for place in photos.values())
    return {path: place if alike[bare := place.with_suffix("")] > 1 else bare for path, place in photos.items()}
