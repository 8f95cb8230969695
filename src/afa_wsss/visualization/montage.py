"""A table of pictures with a title over each column and a legend of the classes below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]

PAPER, INK = (250, 250, 248), (32, 34, 40)
GAP = 6


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings along, so that pictures look alike everywhere."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)


def _fit(picture: Picture, cell: int) -> Image.Image:
    """A picture scaled to fill a square cell without distortion, centred on paper."""
    height, width = picture.shape[:2]
    factor = cell / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = Image.Resampling.NEAREST if factor >= 1.5 else Image.Resampling.LANCZOS
    frame = Image.new("RGB", (cell, cell), PAPER)
    frame.paste(Image.fromarray(picture).resize(size, method), ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return frame


def montage(
    rows: Sequence[Sequence[Picture]],
    titles: Sequence[str],
    *,
    cell: int = 192,
    legend: Sequence[tuple[str, Sequence[int]]] = (),
) -> Picture:
    """Lays out pictures.

    Args:
        rows: Pictures (H, W, 3) of any sizes, as many in a row as there are titles.
        titles: Over the columns.
        cell: Side of a cell in pixels.
        legend: Names and colours, below the table.

    Returns:
        One picture.

    Raises:
        ValueError: Where a row has another number of pictures than there are titles.
    """
    if any(len(row) != len(titles) for row in rows):
        raise ValueError(f"expected {len(titles)} pictures a row, got {sorted({len(row) for row in rows})}")
    font = _font(max(11, cell // 13))
    line = int(font.size * 1.7)
    width = GAP + len(titles) * (cell + GAP)
    entries = _flow(legend, font, width)
    height = line + len(rows) * (cell + GAP) + (GAP + line * (entries[-1][1] + 1) if entries else 0)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        centre = GAP + column * (cell + GAP) + cell / 2
        draw.text((centre, line / 2), title, INK, font, anchor="mm")
        for index, row in enumerate(rows):
            sheet.paste(_fit(row[column], cell), (GAP + column * (cell + GAP), line + index * (cell + GAP)))
    top = line + len(rows) * (cell + GAP) + GAP
    for (name, colour), (left, level) in zip(legend, entries, strict=True):
        middle = top + level * line + line / 2 - GAP
        side = font.size / 2
        draw.rectangle((left, middle - side, left + 2 * side, middle + side), tuple(colour))
        draw.text((left + 3 * side, middle), name, INK, font, anchor="lm")
    return np.asarray(sheet)


def _flow(
    legend: Sequence[tuple[str, Sequence[int]]], font: ImageFont.FreeTypeFont, width: int
) -> list[tuple[float, int]]:
    """Left edge and line of each legend entry, wrapped at ``width``."""
    places, left, level = [], float(2 * GAP), 0
    for name, _ in legend:
        needed = font.getlength(name) + 3.5 * font.size
        if left + needed > width and left > 2 * GAP:
            left, level = float(2 * GAP), level + 1
        places.append((left, level))
        left += needed
    return places
