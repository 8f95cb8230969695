"""``afa-data``: draws, prepares and checks data sets; the first word says what to do."""

from __future__ import annotations

import sys
from typing import Any

from rich.progress import track

from afa_wsss.api.data import (
    COCOSettings,
    PartShapesSettings,
    PreparedCOCO,
    VOCSettings,
    draw_partshapes,
    prepare_coco,
    prepare_voc,
)
from afa_wsss.api.data_check import CheckSettings, FolderSettings
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.data_check import print_check, print_opened, run_check, run_folder
from afa_wsss.cli.output import say
from afa_wsss.cli.shell import Command, show_version


def run_partshapes(composed: Composed[PartShapesSettings]) -> None:
    """Draws PartShapes."""
    settings = composed.settings
    found = draw_partshapes(settings, progress=track)
    if found.drawn:
        say(f"wrote {settings.train} + {settings.val} images to {found.root}")
    else:
        say(f"PartShapes is there already: {found.root} (overwrite=true draws it again)")


def run_voc(composed: Composed[VOCSettings]) -> None:
    """Prepares and checks PASCAL VOC."""
    found = prepare_voc(composed.settings, progress=track)
    root = found.check.root
    if found.labeled:
        say(f"{found.labeled} photos labeled by Annotations: {root / 'image_labels.json'}")
    elif found.labeled == 0:
        say("no Annotations: labels come from ImageSets/Main or masks")
    if found.augmented is not None:
        say(f"{found.augmented} photos in train_aug: {root / 'ImageSets/Segmentation/train_aug.txt'}")
    if found.write_error is not None:
        advice = "" if composed.settings.difficult else ", with data.dataset.difficult=false"
        say(
            f"cannot write to {root} ({found.write_error}): each run collects labels and train_aug{advice}",
            style="yellow",
        )
    print_opened(root, found.check.findings)
    print_check(found.check)
    split = "" if found.train_split in ("train_aug", None) else f" data.train_split={found.train_split}"
    say(f"train on it: afa-train experiment=voc12_mit_b1 data.root={root}{split}")


def run_coco(composed: Composed[COCOSettings]) -> None:
    """Prepares COCO."""
    found = prepare_coco(composed.settings, progress=track, on_split=_print_split)
    year = found[0].split[-4:]
    say(f"train on it: afa-train experiment=coco14_mit_b1 data=coco{year[2:]} data.root={composed.settings.root}")


def _print_split(found: PreparedCOCO) -> None:
    say(f"{found.split}: {found.labeled} photos with objects")
    if found.deleted:
        say(f"{found.split}: {found.deleted} masks were drawn with other settings or instances, and are drawn again")
    if found.drawn is not None:
        say(f"{found.split}: {found.drawn} masks drawn, {found.labeled - found.drawn} were there: {found.masks}")


USAGE = """usage: afa-data WORD [setting=value ...]

  partshapes   draws a synthetic data set
  voc          prepares PASCAL VOC as downloaded, and checks it
  coco         prepares COCO as downloaded: image labels and masks
  folder       checks your own photos and labels
  check        checks any data set that afa-train reads

afa-data WORD --help lists its settings
"""
COMMANDS: dict[str, Command[Any]] = {
    "partshapes": Command("data_partshapes", PartShapesSettings, run_partshapes),
    "voc": Command("data_voc", VOCSettings, run_voc),
    "coco": Command("data_coco", COCOSettings, run_coco),
    "folder": Command("data_folder", FolderSettings, run_folder),
    "check": Command("data_check", CheckSettings, run_check),
}
"""The commands by their word."""


def main() -> None:
    """Entry point of ``afa-data``."""
    words = sys.argv[1:]
    show_version(words)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        raise SystemExit(0 if words else 2)
    if words[0] not in COMMANDS:
        sys.stderr.write(f"error: need a word of {', '.join(COMMANDS)}; got {words[0]!r}\n")
        raise SystemExit(2)
    sys.argv = [sys.argv[0], *words[1:]]
    COMMANDS[words[0]].run()


if __name__ == "__main__":
    main()
