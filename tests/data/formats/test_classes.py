from __future__ import annotations

import numpy as np

from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES, voc_palette


def test_class_lists_are_the_public_ones() -> None:
    assert (len(VOC_CLASSES), len(COCO_CLASSES)) == (20, 80)
    assert VOC_CLASSES[14] == "person"
    assert (COCO_CLASSES[0], COCO_CLASSES[79]) == ("person", "toothbrush")
    assert len(set(COCO_CLASSES)) == 80


def test_palette_has_the_colors_of_the_development_kit() -> None:
    """Colors as PASCAL's own description of its masks lists them."""
    palette = voc_palette(256)
    assert palette[[0, 1, 2, 15, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128]]
    assert palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256
