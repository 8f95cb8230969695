"""A table of pictures with a title over each column and a legend of the classes below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, RIM = (250, 250, 248), (32, 34, 40), (160, 162, 168)
GAP = 6
SMALLEST_FONT, LARGEST_FONT = 10, 20

Picture = UInt8[np.ndarray, "_ _ 3"]
LegendEntry = tuple[str, Sequence[int]]


def montage(
    rows: Sequence[Mapping[str, Picture]], *, cell: int = 192, legend: Sequence[LegendEntry] = ()
) -> UInt8[np.ndarray, "H W 3"]:
    """Lays out pictures, each in its own proportions; a row is as high as its highest picture.

    Args:
        rows: Pictures of any sizes by the title of their column. Columns are in the order in which their titles first
            appear; a cell that a row lacks stays empty.
        cell: Longer side of each picture in the sheet, in pixels.
        legend: Names and RGB colors, below the table, wrapped at its width.

    Returns:
        One picture, ``6 + columns * (cell + 6)`` wide.

    Raises:
        ValueError: Where there is no picture.
    """
    titles = list(dict.fromkeys(title for row in rows for title in row))
    if not titles:
        raise ValueError("need at least one picture, got none")
    parts = [
        _titles(titles, cell),
        *(_row([row.get(title) for title in titles], cell) for row in rows),
        *([_legend(legend, cell, len(titles))] if legend else []),
    ]
    sheet = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return np.asarray(sheet)


def legend_picture(legend: Sequence[LegendEntry], *, cell: int = 192, columns: int = 3) -> Picture:
    """Color swatches and names alone, in lines at most as wide as so many columns of a montage."""
    return np.asarray(_legend(legend, cell, columns))


def _left(column: int, cell: int) -> int:
    """Left edge of a column; with the number of columns, the width of the sheet."""
    return GAP + column * (cell + GAP)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib ships, so that pictures look the same on every machine."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _font_of(cell: int) -> ImageFont.FreeTypeFont:
    """A font that grows with the cells and stays readable in small ones."""
    return _font(min(LARGEST_FONT, max(SMALLEST_FONT, cell // 12)))


def _titles(titles: Sequence[str], cell: int) -> Image.Image:
    """The titles, centered over their columns and aligned at the bottom."""
    font = _font_of(cell)
    wrapped = [_wrap(title, font, cell) for title in titles]
    step = round(1.25 * font.size)
    height = GAP + step * max((len(lines) for lines in wrapped), default=0) + GAP // 2
    strip = Image.new("RGB", (_left(len(titles), cell), height), PAPER)
    draw = ImageDraw.Draw(strip)
    for column, lines in enumerate(wrapped):
        for index, line in enumerate(reversed(lines)):
            place = (_left(column, cell) + cell / 2, height - GAP // 2 - (index + 0.5) * step)
            draw.text(place, line, INK, font, anchor="mm")
    return strip


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Words in as few lines as fit ``width``; a word that is longer than a line is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, font, width))
    return lines


def _cut(word: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The word, or as much of it as fits before an ellipsis."""
    if font.getlength(word) <= width:
        return word
    fitting = (word[:end].rstrip() + "…" for end in range(len(word) - 1, 0, -1))
    return next((short for short in fitting if font.getlength(short) <= width), "…")


def _row(pictures: Sequence[Picture | None], cell: int) -> Image.Image:
    """One row, as high as its highest picture, and the gap below; None leaves its cell empty."""
    fitted = {column: _fit(picture, cell) for column, picture in enumerate(pictures) if picture is not None}
    height = max((picture.height for picture in fitted.values()), default=0)
    strip = Image.new("RGB", (_left(len(pictures), cell), height + GAP), PAPER)
    for column, picture in fitted.items():
        strip.paste(picture, (_left(column, cell) + (cell - picture.width) // 2, (height - picture.height) // 2))
    return strip


def _fit(picture: Picture, cell: int) -> Image.Image:
    """The picture with its longer side scaled to the cell; small ones keep their pixels sharp."""
    height, width = picture.shape[:2]
    factor = cell / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = Image.Resampling.NEAREST if factor >= 1.5 else Image.Resampling.LANCZOS
    return Image.fromarray(picture).resize(size, method)


def _legend(legend: Sequence[LegendEntry], cell: int, columns: int) -> Image.Image:
    """Color swatches and names in lines."""
    font, width = _font_of(cell), _left(columns, cell)
    names = [_cut(name, font, width - 2 * GAP - 1.5 * font.size) for name, _ in legend]
    places = _flow(names, font, width)
    step = round(1.7 * font.size)
    strip = Image.new("RGB", (width, GAP + step * (places[-1][1] + 1)), PAPER)
    draw = ImageDraw.Draw(strip)
    for name, (_, color), (left, line) in zip(names, legend, places, strict=True):
        middle, side = (line + 0.5) * step, font.size / 2
        draw.rectangle((left, middle - side, left + 2 * side, middle + side), tuple(color), RIM)
        draw.text((left + 3 * side, middle), name, INK, font, anchor="lm")
    return strip


def _flow(names: Sequence[str], font: ImageFont.FreeTypeFont, width: int) -> list[tuple[float, int]]:
    """Left edge and line of each legend entry, wrapped at ``width``."""
    places: list[tuple[float, int]] = []
    left, line = float(GAP), 0
    for name in names:
        needed = 1.5 * font.size + font.getlength(name)
        if left + needed > width - GAP and left > GAP:
            left, line = float(GAP), line + 1
        places.append((left, line))
        left += needed + 1.5 * font.size
    return places
