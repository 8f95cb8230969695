"""``afa-data``: makes and prepares data sets; the first word says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from afa_wsss.cli.data_check import check, look_through, progress, stop_with_errors
from afa_wsss.cli.settings import plain
from afa_wsss.cli.shell import as_word, run
from afa_wsss.data.checks.problems import Report
from afa_wsss.data.files.parallel import available_cores
from afa_wsss.data.formats.coco import COCODataset
from afa_wsss.data.formats.coco_instances import ObjectRule, read_instances
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.prepare import (
    draw_coco_masks,
    gather_coco_labels,
    gather_voc_labels,
    keep_rule,
    missing_masks,
    write_augmented_list,
)
from afa_wsss.data.formats.voc import VOCDataset, augmented_names, find_voc_root
from afa_wsss.data.partshapes.write import CLASS_SETS, write_partshapes
from afa_wsss.errors import UserError


def write_synthetic(config: DictConfig) -> None:
    """Writes PartShapes, unless it is there already."""
    if config.classes not in CLASS_SETS:
        raise UserError(f"need classes to be one of {', '.join(CLASS_SETS)}, got {config.classes}")
    parts, clutter = CLASS_SETS[config.classes]
    root = Path(config.root)
    if (root / "classes.json").is_file() and not config.overwrite:
        _say(f"PartShapes is there already: {root} (overwrite=true writes it anew)")
        return
    write_partshapes(
        root,
        train=config.train,
        val=config.val,
        size=config.size,
        seed=config.seed,
        parts=parts,
        clutter=clutter,
        workers=available_cores(),
        progress=progress("draw PartShapes", config.train + config.val),
    )
    _say(f"wrote {config.train} + {config.val} pictures to {root}")


def prepare_voc(config: DictConfig) -> None:
    """Gathers image labels, lists ``train_aug``, and looks through the splits that are there."""
    root = find_voc_root(Path(plain(config)["root"]).expanduser())
    _gather(root, difficult=config.difficult)

    def open_split(split: str, with_masks: bool, report: Report) -> VOCDataset:
        return VOCDataset(root, split, with_masks=with_masks, difficult=config.difficult, report=report)

    lists = {path.stem for path in (root / "ImageSets" / "Segmentation").glob("*.txt")}
    lists |= {"train_aug"} if augmented_names(root) else set()
    train = next((split for split in ("train_aug", "train", "trainval") if split in lists), None)
    splits = {"train": train, "val": "val" if "val" in lists else None, "test": "test" if "test" in lists else None}
    chosen = {use: split for use, split in splits.items() if split is not None}
    if not chosen:
        raise UserError(
            f"need a list train, val or test in {root / 'ImageSets/Segmentation'}, found none; unpack VOC anew"
        )
    stop_with_errors(look_through(open_split, chosen, root=root, output_dir=Path(config.output_dir)))
    other = "" if train == "train_aug" else f" data.train_split={train}"
    _say(f"train on it: afa-train experiment=voc12_mit_b1 data.root={root}{other}")


def _gather(root: Path, *, difficult: bool) -> None:
    """Writes the labels and the list beside the data; where that cannot be written to, says what happens instead."""
    annotations = sum(1 for _ in (root / "Annotations").glob("[!.]*.xml"))
    workers, bar = min(available_cores(), 1 + annotations // 1000), progress("read annotations", annotations)
    try:
        labelled = gather_voc_labels(root, difficult=difficult, workers=workers, progress=bar)
        known = f"{labelled} photos labelled by Annotations: {root / 'image_labels.json'}"
        _say(known if labelled else "no Annotations: labels come from ImageSets/Main or masks")
        listed = write_augmented_list(root)
        if listed is not None:
            _say(f"{listed} photos in train_aug: {root / 'ImageSets/Segmentation/train_aug.txt'}")
    except OSError as error:
        advice = "" if difficult else ", with data.dataset.difficult=false"
        told = f"cannot write to {root} ({error.strerror}): each run gathers labels and train_aug anew{advice}"
        _say(told, style="yellow")


def _say(told: str, *, style: str | None = None) -> None:
    """A line that is not broken, for it may hold a path to copy."""
    Console().print(told, style=style, soft_wrap=True, highlight=False, markup=False)


def prepare_coco(config: DictConfig) -> None:
    """Gathers image labels and draws masks, split by split."""
    root = Path(plain(config)["root"]).expanduser()
    known = ("train2014", "val2014", "train2017", "val2017")
    splits = list(config.splits or [split for split in known if (root / split).is_dir()])
    if not splits:
        raise UserError(f"need photos in {root}/train2014 or its kind ({', '.join(known)}), found none; mend root")
    rule = ObjectRule(crowd=config.crowd, min_area=config.min_area)
    for split in splits:
        _prepare_split(root, split, rule, masks=config.masks)
    year = splits[0][-4:]
    _say(f"train on it: afa-train experiment=coco14_mit_b1 data=coco{year[2:]} data.root={root}")


def _prepare_split(root: Path, split: str, rule: ObjectRule, *, masks: bool) -> None:
    """Labels and masks of one split, and a look at the files."""
    source, folder = root / "annotations" / f"instances_{split}.json", root / "masks" / split
    instances = read_instances(source)
    files = gather_coco_labels(source, instances, rule)
    _say(f"{split}: {len(files)} photos with objects")
    if masks:
        changed = keep_rule(folder, rule)
        if changed:
            _say(f"{split}: {changed} masks were drawn with other settings, and are drawn anew")
        missing = missing_masks(folder, files)
        bar = progress(f"draw masks of {split}", len(missing))
        workers = min(available_cores(), 1 + len(missing) // 200)
        drawn = draw_coco_masks(folder, instances, rule, missing, workers=workers, progress=bar) if missing else 0
        _say(f"{split}: {drawn} masks drawn, {len(files) - drawn} were there: {folder}")
    COCODataset(root, split, with_masks=masks, crowd=rule.crowd, min_area=rule.min_area).check_files()


def look_at_folder(config: DictConfig) -> None:
    """Reads one's own photos and tells what was found."""
    root = Path(plain(config)["root"]).expanduser()

    def open_split(split: str, with_masks: bool, report: Report) -> FolderDataset:
        return FolderDataset(root, split, with_masks=with_masks, report=report)

    splits = {"train": "train", "val": "val"}
    stop_with_errors(look_through(open_split, splits, root=root, output_dir=Path(config.output_dir)))
    _say(f"train on it: afa-train data=folder {as_word('data.root', str(root))}")


USAGE = """usage: afa-data WORD [setting=value ...]

  partshapes   draws a synthetic data set
  voc          makes PASCAL VOC ready as it is shipped, and looks through it
  coco         makes COCO ready as it is shipped: image labels and masks
  folder       looks through your own photos and labels
  check        looks through any data set that afa-train reads

afa-data WORD --help lists its settings
"""
WORDS: dict[str, Callable[[DictConfig], None]] = {
    "partshapes": write_synthetic,
    "voc": prepare_voc,
    "coco": prepare_coco,
    "folder": look_at_folder,
    "check": check,
}


def main() -> None:
    """Entry point of ``afa-data``."""
    words = sys.argv[1:]
    known = ", ".join(WORDS)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        raise SystemExit(0 if words else 2)
    if words[0] not in WORDS:
        sys.stderr.write(f"error: need a word of {known}; got {words[0]!r}\n")
        raise SystemExit(2)
    sys.argv = [sys.argv[0], *words[1:]]
    run(WORDS[words[0]], f"data_{words[0]}")


if __name__ == "__main__":
    main()
