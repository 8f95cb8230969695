"""Small folders of photos with masks for the studies' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")
SIDE = 40


def write_photos(root: Path, *, train: int = 6, val: int = 7) -> Path:
    """Photos of a bright square, a cat, and a dark one, a dog; every fifth shows nothing. Held-out ones have masks."""
    rng = np.random.default_rng(0)
    rows = ["file,labels,split"]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(train + val):
        photo = rng.integers(90, 130, (SIDE, SIDE + index, 3)).astype(np.uint8)
        mask = np.zeros(photo.shape[:2], dtype=np.uint8)
        shown = () if index % 5 == 4 else (index % 2,) if index % 3 else (0, 1)
        for which in shown:
            top, left = rng.integers(2, 20, 2) if which == 0 else rng.integers(12, 24, 2)
            photo[top : top + 14, left : left + 14] = 240 if which == 0 else 10
            mask[top : top + 14, left : left + 14] = which + 1
        mask[0] = 255
        split = "train" if index < train else "val"
        Image.fromarray(photo).save(root / "images" / f"p{index:02d}.jpg")
        if split == "val":
            Image.fromarray(mask).save(root / "masks" / f"p{index:02d}.png")
        rows.append(f"p{index:02d}.jpg,{';'.join(CLASSES[which] for which in shown)},{split}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root
