"""The EXIF orientation of a picture, and the picture upright."""

from __future__ import annotations

from PIL import Image

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""

ROTATIONS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The EXIF orientations that swap width and height, and the transpose that makes such a photo upright."""

TURNS = ROTATIONS | {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
}
"""All EXIF orientations but 1, and the transpose that makes such a photo upright."""


def upright(image: Image.Image) -> Image.Image:
    """A picture as people see it; the picture itself where it is upright.

    Unlike ``PIL.ImageOps.exif_transpose`` it writes no EXIF back, which fails for tags of a wrong type.
    """
    image.load()  # a TIFF is upright and has no orientation from then on
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)
