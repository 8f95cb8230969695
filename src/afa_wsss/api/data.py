"""Draws and prepares data sets: what ``afa-data partshapes``, ``voc`` and ``coco`` do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from afa_wsss.api.data_check import DataCheck, check_splits
from afa_wsss.data.checks.problems import Report
from afa_wsss.data.files.parallel import ProgressBar, available_cores, no_progress
from afa_wsss.data.formats.coco import COCODataset
from afa_wsss.data.formats.coco_instances import ObjectRule, instances_path, read_instances
from afa_wsss.data.formats.coco_labels import collect_coco_labels
from afa_wsss.data.formats.coco_masks import apply_rule, draw_coco_masks, masks_folder, missing_masks
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.data.formats.voc_labels import collect_voc_labels
from afa_wsss.data.formats.voc_layout import augmented_names, find_voc_root, write_augmented_list
from afa_wsss.data.partshapes.write import CLASS_SETS, write_partshapes
from afa_wsss.errors import UserError

COCO_SPLITS = ("train2014", "val2014", "train2017", "val2017")


@dataclass(frozen=True)
class PartShapesSettings:
    """The synthetic data set to draw.

    Attributes:
        root: Folder to write to.
        train: Number of training images.
        val: Number of validation images.
        size: Side of the square images in pixels, at least 32.
        seed: Equal seeds write equal files.
        classes: ``demo``, or ``parts`` or ``pairs``, which ``mit_nano`` is pretrained on.
        overwrite: Whether to draw again what is there already.

    Raises:
        UserError: For other classes.
    """

    root: str = "datasets/partshapes"
    train: int = 1000
    val: int = 200
    size: int = 112
    seed: int = 0
    classes: str = "demo"
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the name of the classes."""
        if self.classes not in CLASS_SETS:
            raise UserError(
                f"need classes to be one of {', '.join(CLASS_SETS)}; got {self.classes}", arguments=("classes",)
            )


class DrawnPartShapes(NamedTuple):
    """Where PartShapes is.

    Attributes:
        root: Its folder.
        drawn: Number of images drawn; 0 where it was there already.
    """

    root: Path
    drawn: int


def draw_partshapes(
    settings: PartShapesSettings | None = None, *, progress: ProgressBar = no_progress
) -> DrawnPartShapes:
    """Draws PartShapes, unless it is there already.

    Args:
        settings: What to draw; None for the data set of the demo.
        progress: Shows how many images are done.

    Raises:
        UserError: For impossible numbers or sizes of images.
    """
    settings = settings or PartShapesSettings()
    root, total = Path(settings.root).expanduser(), settings.train + settings.val
    if (root / "classes.json").is_file() and not settings.overwrite:
        return DrawnPartShapes(root, 0)
    (root / "classes.json").unlink(missing_ok=True)  # the mark of a whole set, until this one is
    parts, clutter = CLASS_SETS[settings.classes]
    write_partshapes(
        root,
        train=settings.train,
        val=settings.val,
        size=settings.size,
        seed=settings.seed,
        parts=parts,
        clutter=clutter,
        workers=available_cores(),
        progress=partial(progress, description="draw PartShapes", total=total),
    )
    return DrawnPartShapes(root, total)


@dataclass(frozen=True)
class VOCSettings:
    """PASCAL VOC to prepare.

    Attributes:
        root: The folder that holds JPEGImages, or VOCdevkit above it.
        difficult: Whether objects that VOC marks difficult count as labels.
        output_dir: Folder for ``problems.json``.
    """

    root: str
    difficult: bool = True
    output_dir: str = "outputs/data_voc"


class PreparedVOC(NamedTuple):
    """PASCAL VOC, ready for training.

    Attributes:
        labeled: Number of photos whose labels were collected into ``image_labels.json``; 0 where there are no
            annotations, None where the file could not be written.
        augmented: Number of photos in the list ``train_aug``; None where there are no augmented masks.
        write_error: Why nothing could be written beside the data; None where it could.
        train_split: The split to train on; None where there is only one to score.
        check: What the check of all files found.
    """

    labeled: int | None
    augmented: int | None
    write_error: str | None
    train_split: str | None
    check: DataCheck


def prepare_voc(settings: VOCSettings, *, progress: ProgressBar = no_progress) -> PreparedVOC:
    """Collects image labels, writes the list ``train_aug``, and checks the files of all splits.

    Data that cannot be written to can be used all the same: labels and list are then made when a run starts.

    Args:
        settings: Where VOC is, and which objects count.
        progress: Shows how many annotations and photos are done.

    Raises:
        UserError: Where there is no VOC, no list of photos, or an annotation that cannot be used.
    """
    root = find_voc_root(Path(settings.root).expanduser())
    splits = _voc_splits(root)
    labeled = augmented = write_error = None
    try:
        labeled = _collect_voc_labels(root, settings.difficult, progress)
        augmented = write_augmented_list(root)
    except OSError as error:
        write_error = error.strerror or str(error)

    def open_split(use: str, /, *, with_masks: bool, report: Report) -> VOCDataset:
        return VOCDataset(root, splits[use], with_masks=with_masks, difficult=settings.difficult, report=report)

    check = check_splits(open_split, splits, root=root, output_dir=settings.output_dir, progress=progress)
    return PreparedVOC(labeled, augmented, write_error, splits.get("train"), check)


def _voc_splits(root: Path) -> dict[str, str]:
    """The lists of photos to train on, to validate with and to test, where they exist."""
    lists = {path.stem for path in (root / "ImageSets" / "Segmentation").glob("*.txt")}
    lists |= {"train_aug"} if augmented_names(root) else set()
    choices = {"train": ("train_aug", "train", "trainval"), "val": ("val",), "test": ("test",)}
    found = {use: next((name for name in names if name in lists), None) for use, names in choices.items()}
    splits = {use: name for use, name in found.items() if name is not None}
    if not splits:
        raise UserError(
            f"need a list train, val or test in {root / 'ImageSets/Segmentation'}, found none; unpack VOC again"
        )
    return splits


def _collect_voc_labels(root: Path, difficult: bool, progress: ProgressBar) -> int:
    total = sum(1 for _ in (root / "Annotations").glob("[!.]*.xml"))
    workers = min(available_cores(), 1 + total // 1000)
    bar = partial(progress, description="read annotations", total=total)
    return collect_voc_labels(root, difficult=difficult, workers=workers, progress=bar)


@dataclass(frozen=True)
class COCOSettings:
    """COCO to prepare.

    Attributes:
        root: The folder that holds ``annotations`` and the photos' folders, such as ``train2014``.
        splits: Such as ``["val2014"]``; None for all whose photos are there.
        crowd: Whether crowds, which COCO outlines as one region, count as objects.
        min_area: Smallest area of an object that counts, in pixels.
        masks: Whether to draw masks.
    """

    root: str
    splits: list[str] | None = None
    crowd: bool = True
    min_area: float = 0.0
    masks: bool = True


class PreparedCOCO(NamedTuple):
    """One split of COCO, ready for training.

    Attributes:
        split: Its name.
        labeled: Number of photos with objects.
        deleted: Number of masks that were drawn with other settings or from another instances file, and deleted.
        drawn: Number of masks drawn now; None where no masks were requested.
        masks: Folder of the masks.
    """

    split: str
    labeled: int
    deleted: int
    drawn: int | None
    masks: Path


def prepare_coco(
    settings: COCOSettings,
    *,
    progress: ProgressBar = no_progress,
    on_split: Callable[[PreparedCOCO], object] | None = None,
) -> list[PreparedCOCO]:
    """Collects image labels and draws masks, split by split; an interrupted run continues where it stopped.

    Args:
        settings: Where COCO is, and which objects count.
        progress: Shows how many masks are drawn.
        on_split: Called with each split when its labels and masks are there, before its files are checked.

    Raises:
        UserError: Where photos or instances are missing, or cannot be used.
    """
    root, rule = Path(settings.root).expanduser(), ObjectRule(settings.crowd, settings.min_area)
    prepared = []
    for split in settings.splits or _coco_splits(root):
        prepared.append(_prepare_split(root, split, rule, masks=settings.masks, progress=progress))
        if on_split is not None:
            on_split(prepared[-1])
        COCODataset(root, split, with_masks=settings.masks, crowd=rule.crowd, min_area=rule.min_area).check_files()
    return prepared


def _coco_splits(root: Path) -> list[str]:
    splits = [split for split in COCO_SPLITS if (root / split).is_dir()]
    if not splits:
        raise UserError(
            f"need photos in {root}/train2014 or its like ({', '.join(COCO_SPLITS)}), found none; fix root",
            kind="missing",
            arguments=("root",),
        )
    return splits


def _prepare_split(root: Path, split: str, rule: ObjectRule, *, masks: bool, progress: ProgressBar) -> PreparedCOCO:
    instances, folder = read_instances(instances_path(root, split)), masks_folder(root, split)
    files = collect_coco_labels(root, split, instances, rule)
    if not masks:
        return PreparedCOCO(split, len(files), 0, None, folder)
    deleted, missing = apply_rule(folder, rule, instances_path(root, split)), missing_masks(folder, files)
    if not missing:
        return PreparedCOCO(split, len(files), deleted, 0, folder)
    workers = min(available_cores(), 1 + len(missing) // 200)
    bar = partial(progress, description=f"draw masks of {split}", total=len(missing))
    drawn = draw_coco_masks(folder, instances, rule, missing, workers=workers, progress=bar)
    return PreparedCOCO(split, len(files), deleted, drawn, folder)
