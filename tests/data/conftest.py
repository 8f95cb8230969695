from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import write_coco, write_voc


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOC2012")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path)


@pytest.fixture
def picture() -> Image.Image:
    """60 wide, 40 high: red at the top, blue below."""
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:20, :, 0] = 255
    pixels[20:, :, 2] = 255
    return Image.fromarray(pixels)
