"""Small data sets for the tests, written to disk or held in memory."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from afa_wsss.data.base import Sample
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.files.orientation import ORIENTATION
from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES, voc_palette


def write_photo(path: Path, red: int = 9) -> None:
    """A photo of 12 x 8 in one color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (red, 0, 0)).save(path)


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


# --- in memory ---


class Noise:
    """Random photos of different sizes; the smallest data set that satisfies ``SegmentationDataset``."""

    class_names = ("cat", "dog")
    palette = np.zeros((3, 3), dtype=np.uint8)
    names = tuple("abcdef")
    image_labels = np.tile(np.array([[1, 0]], dtype=np.uint8), (6, 1))

    def __init__(self, *, with_masks: bool = True) -> None:
        self.with_masks = with_masks

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        shape = (30 + index, 50 - index)
        mask = rng.integers(0, 3, shape, dtype=np.uint8) if self.with_masks else None
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        return Sample(image, self.image_labels[index].astype(np.float32), mask, self.names[index])

    def check_files(self) -> None:
        pass


# --- VOC ---

VOC_CONTENT = {"a": [1], "b": [2, 15], "c": [20]}
"""Photos and the classes in their masks."""


def write_voc(root: Path, *, masks: str = "SegmentationClass") -> Path:
    """Three photos of 12 x 8 in one list, with masks."""
    for folder in ("JPEGImages", masks, "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, classes in VOC_CONTENT.items():
        write_photo(root / "JPEGImages" / f"{name}.jpg", classes[0] * 10)
        label = np.zeros((8, 12), dtype=np.uint8)
        label[0] = 255
        for row, value in enumerate(classes):
            label[row + 2] = value
        write_mask(root / masks / f"{name}.png", label, voc_palette(21))
    write_list(root, *VOC_CONTENT)
    return root


def write_list(root: Path, *lines: str, split: str = "train") -> None:
    (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_annotation(root: Path, name: str, *classes: str) -> None:
    """An annotation whose objects are all marked difficult."""
    objects = "".join(
        f"<object><name>{kind}</name><difficult>1</difficult><part><name>head</name></part></object>"
        for kind in classes
    )
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation><folder>x</folder>{objects}</annotation>")


def write_class_lists(root: Path, *, split: str = "train", present: dict[str, str]) -> None:
    (root / "ImageSets" / "Main").mkdir()
    for kind in VOC_CLASSES:
        rows = "".join(f"{name} {'1' if present[name] == kind else '-1'}\n" for name in VOC_CONTENT)
        (root / "ImageSets" / "Main" / f"{kind}_{split}.txt").write_text(rows)


# --- COCO ---

SQUARE, LARGE = [2, 2, 6, 2, 6, 6, 2, 6], [0, 0, 20, 0, 20, 12, 0, 12]


def _annotation(photo: int, category: int, outline: Any, area: float, *, crowd: int = 0) -> dict[str, Any]:
    return {"image_id": photo, "category_id": category, "segmentation": outline, "area": area, "iscrowd": crowd}


def write_coco(root: Path) -> Path:
    """Photo 1: a small person before a large bus, in that order. 2: a crowd and a tiny dog. 3: a crowd alone."""
    crowd = rle.encode(np.asfortranarray(np.eye(12, 20, dtype=np.uint8)))
    runs = {"size": [12, 20], "counts": [0, 100, 140]}
    content = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "height": 12, "width": 20} for n in (1, 2, 3)],
        "categories": [{"id": i + 1 + (i > 10), "name": name} for i, name in enumerate(COCO_CLASSES)],
        "annotations": [
            _annotation(1, 1, [SQUARE], 16),
            _annotation(1, 6, [LARGE], 240),
            _annotation(2, 1, runs, 100, crowd=1),
            _annotation(2, 18, [[15, 8, 17, 8, 17, 10, 15, 10]], 4),
            _annotation(3, 13, {"size": [12, 20], "counts": crowd["counts"].decode()}, 12, crowd=1),
        ],
    }
    for photo in content["images"]:
        (root / "val2014").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 12)).save(root / "val2014" / photo["file_name"])
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2014.json").write_text(json.dumps(content))
    return root


# --- a folder with everything that can be wrong ---


def _rotate(path: Path) -> None:
    Image.new("RGB", (12, 8), (9, 0, 0)).save(path, exif=exif_with(6))


def _truncate(path: Path) -> None:
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:700])


BROKEN: dict[str, Callable[[Path], Any] | None] = {
    "photo empty": lambda path: path.write_bytes(b""),
    "photo unreadable": _truncate,
    "photo missing": Path.unlink,
    "grayscale": lambda path: Image.new("L", (12, 8), 99).save(path),
    "CMYK": lambda path: Image.new("CMYK", (12, 8), (0, 99, 99, 0)).save(path),
    "rotated by EXIF": _rotate,
    "palette": lambda path: Image.new("RGB", (12, 8), (9, 0, 0)).quantize(2).save(path, format="PNG"),
    "16 bits or more": lambda path: Image.new("I;16", (12, 8), 999).save(path, format="PNG"),
    "mask missing": None,
    "mask unusable": None,
    "mask of another size": None,
}
"""Kinds of problems, and what makes a good photo show one; None where its mask does."""

ERRORS = {kind for kind in BROKEN if kind.startswith(("photo", "mask"))}


def write_broken_folder(root: Path) -> None:
    """A photo for each kind of problem, named after it, and a good one."""
    rows = ["good.jpg,dog"]
    for kind, spoil in BROKEN.items():
        write_photo(root / f"{kind}.jpg")
        label = np.ones((8, 12), dtype=np.uint8)
        if kind in ("rotated by EXIF", "mask of another size"):
            label = label.T.copy()
        if kind != "mask missing":
            write_mask(root / "masks" / f"{kind}.png", label * (9 if kind == "mask unusable" else 1), voc_palette(3))
        if spoil is not None:
            spoil(root / f"{kind}.jpg")
        rows.append(f"{kind}.jpg,dog")
    write_photo(root / "good.jpg")
    write_mask(root / "masks" / "good.png", np.ones((8, 12), dtype=np.uint8), voc_palette(3))
    (root / "labels.csv").write_text("\n".join(rows))


# --- bytes of PNGs ---


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


DECOMPRESSION_BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress(b"0"))
    + png_chunk(b"IEND", b"")
)
"""A PNG of some bytes whose header claims 60000 x 60000 pixels."""
