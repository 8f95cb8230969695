"""Labels every pixel of one's own photos, and writes masks and overlays."""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from afa_wsss.api.device import find_device
from afa_wsss.api.prediction_index import CSV_FILE, PredictionIndex
from afa_wsss.api.prediction_record import MASKS, OVERLAYS, FoundClass, PhotoFile, PhotoRecord, overlay_of
from afa_wsss.api.segmenter import Segmenter, load
from afa_wsss.api.settings import PredictSettings, given, with_changes
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.photos import without_suffix
from afa_wsss.data.files.picture_types import report_skipped
from afa_wsss.data.files.shared_range import SharedRange
from afa_wsss.data.files.whole import whole_file
from afa_wsss.data.formats.folder_labels.contents import Contents, read_contents
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.report.montage import legend_picture


class Prediction(NamedTuple):
    """A finished prediction.

    Attributes:
        folder: Folder of ``masks`` and ``overlays``, the index and the legend.
        photos: Number of photos that were labeled.
        failed: Messages of photos that could not be read.
        skipped: Lines on files of other kinds that may hold photos, such as HEIC without its extra.
        done_before: Number of photos that an earlier run had labeled, and that were not labeled again.
        gone: Number of photos that an earlier run had labeled and that are no longer in the input: the index leaves
            them out, and their masks stay.
    """

    folder: Path
    photos: int
    failed: list[str]
    done_before: int = 0
    skipped: Sequence[str] = ()
    gone: int = 0

    @property
    def masks(self) -> Path:
        """Palette PNGs, one for each photo."""
        return self.folder / MASKS

    @property
    def overlays(self) -> Path:
        """Pictures of the masks over the photos."""
        return self.folder / OVERLAYS

    @property
    def predictions(self) -> Path:
        """Photos, their classes with share of pixels and score; ``predictions.json`` holds the same."""
        return self.folder / CSV_FILE

    @property
    def legend(self) -> Path:
        """Colors and names of the classes."""
        return self.folder / "legend.png"


def predict(
    settings: PredictSettings,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    started: Callable[[Prediction], None] = lambda _: None,
    stopped: Callable[[Prediction], None] = lambda _: None,
) -> Prediction:
    """Writes a palette PNG and an overlay for each photo, and an index; a photo that cannot be read stops no others.

    Photos that an earlier run into the same folder has labeled are not labeled again, unless their files are others by
    size or time. Those that are gone are left out of the index; their masks stay.

    Args:
        settings: Checkpoint, photos, device.
        progress: Wraps the photos as they are done.
        started: Called before the first photo.
        stopped: Called where the run is cut short, before the error is raised again.

    Raises:
        UserError: For a checkpoint that cannot be read, a device that is not there, where there are no photos, and for
            a folder with other files or predictions, unless they are overwritten.
    """
    photos: dict[Path, Path] = {}
    for name in ("input", "output_dir"):
        if not getattr(settings, name):
            raise UserError("need a path, got an empty one", arguments=(name,))
    segmenter = _segmenter(settings, photos.keys)
    source, result = Path(settings.input).expanduser(), Prediction(Path(settings.output_dir), 0, [])
    besides = (result.masks, result.overlays, result.legend)
    with argument("input"):
        photos |= list_photos(source, besides=besides)
    result = result._replace(skipped=[problem.message for problem in _skipped(source, besides)])
    places = {path: _place(path, source) for path in photos}
    with _index(settings, segmenter, result.folder, list(places.values())) as index:
        todo = [(path, name) for path, name in photos.items() if not index.has(places[path], _mask_of(name), path)]
        result = result._replace(done_before=len(photos) - len(todo))
        _write_legend(result.legend, segmenter)
        started(result)
        try:
            for path, name in progress(todo):
                record = _label(segmenter, path, name, places[path], result)
                index.add(record)
                result.failed.extend([record.error] if record.error else [])
                result = result._replace(photos=result.photos + (not record.error))
        except BaseException:
            stopped(result)
            raise
    return result._replace(gone=len(index.gone))


def _segmenter(settings: PredictSettings, photos: Callable[[], Iterable[Path]]) -> Segmenter:
    """The checkpoint's network with the settings that are given; ``photos`` share a range where it has none."""
    device = str(find_device(settings.device))
    with argument("checkpoint"):
        segmenter = load(settings.checkpoint, device)
    with argument("inference"):
        segmenter.inference = with_changes(segmenter.inference, settings.inference)
    with argument("data"):
        stored = {"max_side": segmenter.max_side, "value_range": segmenter.range_of.setting}
        data = DataSettings(**stored | given(DataSettings, settings.data))
        segmenter.max_side, segmenter.range_of = data.max_side, SharedRange(data.value_range, photos)
    return segmenter


def _index(settings: PredictSettings, segmenter: Segmenter, folder: Path, photos: list[str]) -> PredictionIndex:
    checkpoint = Path(settings.checkpoint).absolute()
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    made_with = {
        "checkpoint": {"path": str(checkpoint), "sha256": digest},
        "input": str(Path(settings.input).expanduser().absolute()),
        "inference": asdict(segmenter.inference),
        "max_side": segmenter.max_side,
        "value_range": segmenter.range_of.setting,
    }
    return PredictionIndex(folder, made_with, photos, overwrite=settings.overwrite, classes=_classes(segmenter))


def _place(path: Path, source: Path) -> str:
    """A photo's path inside the input folder."""
    return path.name if path == source else path.relative_to(source).as_posix()


def _mask_of(name: Path) -> str:
    return Path(MASKS, f"{name}.png").as_posix()


def _label(segmenter: Segmenter, path: Path, name: Path, place: str, result: Prediction) -> PhotoRecord:
    """Labels one photo and writes its pictures, the mask last: a photo that has one is done."""
    file, mask = PhotoFile.of(path), _mask_of(name)
    try:
        found = segmenter.predict(path)
    except UserError as error:
        return PhotoRecord(place, "", 0, 0, error=str(error), file=file)
    try:
        with whole_file(result.folder / overlay_of(mask)) as part:
            found.overlay().save(part, format="JPEG", quality=92)
        found.save(result.folder / mask)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        message = f"need a name that is short enough for a mask, got {path} ({len(path.name)} letters); rename it"
        return PhotoRecord(place, "", 0, 0, error=message, file=file)
    scores = dict(zip(found.class_names, found.class_scores.tolist(), strict=True))
    classes = tuple(FoundClass(one, share, scores[one]) for one, share in found.areas.items())
    height, width = found.labels.shape
    return PhotoRecord(place, mask, width, height, classes, file=file)


def _classes(segmenter: Segmenter) -> list[dict[str, Any]]:
    """Values of masks with their names and colors."""
    named = zip(("background", *segmenter.class_names), segmenter.palette.tolist(), strict=True)
    return [{"id": value, "name": name, "color": color} for value, (name, color) in enumerate(named)]


def _write_legend(path: Path, segmenter: Segmenter) -> None:
    entries = [(f"{one['id']} {one['name']}", one["color"]) for one in _classes(segmenter)]
    with whole_file(path) as part:
        Image.fromarray(legend_picture(entries)).save(part, format="PNG")


def list_photos(source: Path, *, besides: Sequence[Path] = ()) -> dict[Path, Path]:
    """A photo itself, or the photos of a folder and of the folders in it, without hidden ones and pictures of runs.

    Args:
        source: A photo or a folder.
        besides: Files and folders inside it that are left out.

    Returns:
        Name of each in the output: its place in the folder without suffix, unless photos differ in nothing else.

    Raises:
        UserError: Where there are none.
    """
    if source.is_file():
        return {source: Path(without_suffix(source.name))}
    if not source.is_dir():
        broken = f", a link to {source.readlink()}" if source.is_symlink() else ""
        raise UserError(f"need a photo or a folder of photos, found none at {source}{broken}", kind="missing")
    try:
        photos = {source / place: Path(place) for place in _contents(source, besides).photos}
    except OSError as error:
        where, why = error.filename or source, error.strerror or error
        raise UserError(f"need a folder of photos that can be read, got {where} ({why})") from error
    if not photos:
        others = "".join(f"; {problem.message}" for problem in _skipped(source, besides))
        raise UserError(f"need a photo or a folder of photos, found none at {source}{others}", kind="missing")
    bare = {path: Path(without_suffix(place.as_posix())) for path, place in photos.items()}
    alike = Counter(bare.values())
    names = {path: photos[path] if alike[name] > 1 else name for path, name in bare.items()}
    taken = Counter(names.values())  # a.jpg.png has the bare name that a.jpg has beside a.png
    return {path: photos[path] if taken[name] > 1 else name for path, name in names.items()}


def _contents(source: Path, besides: Sequence[Path]) -> Contents:
    """What lies in a folder, as ``data=folder`` reads it: without masks, hidden and system folders, and runs."""
    found, left_out = read_contents(source), [other.absolute() for other in besides]

    def kept(places: Sequence[str]) -> list[str]:
        absolute = {place: (source / place).absolute() for place in places}
        return [place for place, path in absolute.items() if not any(map(path.is_relative_to, left_out))]

    return found._replace(photos=kept(found.photos), others=kept(found.others))


def _skipped(source: Path, besides: Sequence[Path]) -> list[Problem]:
    """What is said of files that are no photos and may hold some, and of a folder of masks."""
    if not source.is_dir():
        return []
    found = _contents(source, besides)
    problems = report_skipped((source / place for place in found.others), source)
    masks = [folder for folder, why in found.left_out.items() if why == "masks"]
    message = f"masks are no photos: {', '.join(masks)} of {source} left out"
    said = [Problem("masks left out", folder, message, "warning") for folder in masks[:1]]
    return [*said, *(problem for problem in problems if problem.level == "warning")]
