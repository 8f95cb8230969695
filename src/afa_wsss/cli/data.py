"""``afa-data``: makes and prepares data sets; the first word says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from afa_wsss.cli import build
from afa_wsss.cli.data_check import check, look_through, progress, stop_with_errors
from afa_wsss.cli.shell import run
from afa_wsss.data.coco import COCODataset
from afa_wsss.data.coco_instances import ObjectRule, read_instances
from afa_wsss.data.folder import FolderDataset
from afa_wsss.data.parallel import available_cores
from afa_wsss.data.partshapes import PARTSHAPES, PRETRAINING, PRETRAINING_CLUTTER, write_partshapes
from afa_wsss.data.partshapes_scene import DEFAULT_CLUTTER
from afa_wsss.data.prepare import (
    draw_coco_masks,
    gather_coco_labels,
    gather_voc_labels,
    missing_masks,
    write_augmented_list,
)
from afa_wsss.data.problems import Report
from afa_wsss.data.voc import VOCDataset, find_voc_root
from afa_wsss.types import UserError


def write_synthetic(config: DictConfig) -> None:
    """Writes PartShapes, unless it is there already."""
    root = Path(config.root)
    console = Console()
    if (root / "classes.json").is_file() and not config.overwrite:
        console.print(f"PartShapes is there already: {root} (overwrite=true writes it anew)")
        return
    write_partshapes(
        root,
        train=config.train,
        val=config.val,
        size=config.size,
        seed=config.seed,
        parts=PRETRAINING if config.pretraining else PARTSHAPES,
        clutter=PRETRAINING_CLUTTER if config.pretraining else DEFAULT_CLUTTER,
        workers=available_cores(),
        progress=progress("draw PartShapes", config.train + config.val),
    )
    console.print(f"wrote {config.train} + {config.val} pictures to {root}")


def prepare_voc(config: DictConfig) -> None:
    """Gathers image labels, lists ``train_aug``, and looks through the splits that are there."""
    console, root = Console(), find_voc_root(Path(build.plain(config)["root"]).expanduser())
    annotations = sum(1 for _ in (root / "Annotations").glob("*.xml"))
    labelled = gather_voc_labels(
        root,
        difficult=config.difficult,
        workers=min(available_cores(), 1 + annotations // 1000),
        progress=progress("read annotations", annotations),
    )
    told = f"{labelled} photos labelled by Annotations: {root / 'image_labels.json'}"
    console.print(told if labelled else "no Annotations: labels come from ImageSets/Main or masks", soft_wrap=True)
    augmented = write_augmented_list(root)
    if augmented is not None:
        console.print(
            f"{augmented} photos in train_aug: {root / 'ImageSets/Segmentation/train_aug.txt'}", soft_wrap=True
        )

    def open_split(split: str, with_masks: bool, report: Report) -> VOCDataset:
        return VOCDataset(root, split, with_masks=with_masks, difficult=config.difficult, report=report)

    lists = {path.stem for path in (root / "ImageSets" / "Segmentation").glob("*.txt")}
    train = next((split for split in ("train_aug", "train", "trainval") if split in lists), None)
    splits = {"train": train, "val": "val" if "val" in lists else None, "test": "test" if "test" in lists else None}
    chosen = {use: split for use, split in splits.items() if split is not None}
    if not chosen:
        raise UserError(
            f"need a list train, val or test in {root / 'ImageSets/Segmentation'}, found none; unpack VOC anew"
        )
    stop_with_errors(look_through(open_split, chosen, Path(config.output_dir)))


def prepare_coco(config: DictConfig) -> None:
    """Gathers image labels and draws masks, split by split."""
    console, root = Console(), Path(build.plain(config)["root"]).expanduser()
    known = ("train2014", "val2014", "train2017", "val2017")
    splits = config.splits or [split for split in known if (root / split).is_dir()]
    if not splits:
        raise UserError(f"need photos in {root}/train2014 or its kind ({', '.join(known)}), found none; mend root")
    rule = ObjectRule(crowd=config.crowd, min_area=config.min_area)
    for split in splits:
        source = root / "annotations" / f"instances_{split}.json"
        instances = read_instances(source)
        files, folder = gather_coco_labels(source, instances, rule), root / "masks" / split
        console.print(f"{split}: {len(files)} photos with objects", highlight=False)
        if config.masks:
            missing = missing_masks(folder, files)
            bar = progress(f"draw masks of {split}", len(missing))
            workers = min(available_cores(), 1 + len(missing) // 200)
            drawn = draw_coco_masks(folder, instances, rule, missing, workers=workers, progress=bar)
            told = f"{split}: {drawn} masks drawn, {len(files) - drawn} were there: {folder}"
            console.print(told, soft_wrap=True, highlight=False)
        COCODataset(root, split, with_masks=config.masks, crowd=rule.crowd, min_area=rule.min_area).check_files()


def look_at_folder(config: DictConfig) -> None:
    """Reads one's own photos and tells what was found."""
    root = Path(build.plain(config)["root"]).expanduser()

    def open_split(split: str, with_masks: bool, report: Report) -> FolderDataset:
        return FolderDataset(root, split, with_masks=with_masks, report=report)

    stop_with_errors(look_through(open_split, {"train": "train", "val": "val"}, Path(config.output_dir)))
    Console().print(f"train on it: afa-train data=folder data.root={root}", soft_wrap=True, highlight=False)


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
