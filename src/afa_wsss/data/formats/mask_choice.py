"""Which form the masks of a data set have: ids, one class against the background, or colors. Decided once for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from afa_wsss.data.files.mask_colors import ClassList
from afa_wsss.data.files.mask_forms import MaskForm, id_form
from afa_wsss.data.files.mask_pixels import Color, MaskContent, pack, unpack
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.types import IGNORE_INDEX

VOC_VOID = (224, 224, 192)
"""Color of ignored pixels in VOC's masks."""

BLACK = pack((0, 0, 0))

CLEAR = 0.4
"""A form must fit the photos' labels better than the likelier one by this much, from 0 to 1, to be chosen instead."""

GOOD = 0.7
"""And by this much at least."""

Tags = Collection[int]
"""Class ids of a photo, from 1."""


class Evidence(NamedTuple):
    """What is known of some masks of a data set.

    Attributes:
        contents: What the masks hold.
        tags: Classes of their photos; an empty sequence where they are not known.
    """

    contents: Sequence[MaskContent]
    tags: Sequence[Tags] = ()

    def fit(self, form: MaskForm) -> float:
        """Mean overlap (intersection over union) of the classes that masks show with their photos' labels."""
        pairs = [(form.shown(content), set(tags)) for content, tags in self._telling()]
        overlaps = [len(shown & tags) / len(shown | tags) for shown, tags in pairs if shown | tags]
        return float(np.mean(overlaps)) if overlaps else 0.0

    def prefers(self, form: MaskForm, other: MaskForm) -> bool:
        """Whether ``form`` fits the labels clearly better than ``other``, over two masks or more."""
        fit = self.fit(form)
        return len(self._telling()) > 1 and fit >= GOOD and fit >= self.fit(other) + CLEAR

    def _telling(self) -> list[tuple[MaskContent, Tags]]:
        """Masks that show something, with the labels of their photos."""
        pairs = zip(self.contents, self.tags, strict=True) if self.tags else ()
        return [(content, tags) for content, tags in pairs if set(content.values or {1: 1}) != {0}]


def choose_form(evidence: Evidence, listed: ClassList) -> MaskForm:
    """The form that reads most masks; of several, the likeliest, unless the photos' labels clearly fit another.

    Args:
        evidence: What some masks hold.
        listed: The classes, their colors, the place of the background among them.
    """
    contents, classes = evidence.contents, len(listed.names) + 1
    if not listed.colors and (doubt := _foreground_alone(contents, classes)):
        return replace(id_form(classes), doubt=doubt)
    forms = _forms(contents, classes, listed)
    reads = [sum(form.reads(content) for content in contents) for form in forms]
    readers = [form for form, count in zip(forms, reads, strict=True) if count == max(reads)]
    chosen = next((form for form in readers[1:] if evidence.prefers(form, readers[0])), readers[0])
    if chosen != id_form(classes):
        return chosen
    return replace(chosen, doubt=_unclear_order(evidence, readers, listed))


def _forms(contents: Sequence[MaskContent], classes: int, listed: ClassList) -> list[MaskForm]:
    """All forms that masks may have, the likeliest first: colors that the user gave, one class, ids, VOC's colors."""
    forms = [*_one_class(contents)] if classes == 2 else []
    if listed.colors and not _palettes_agree(contents, listed.colors):
        table = {pack(color): value for color, value in listed.colors.items()}
        forms.insert(0, MaskForm("colors", table, classes, "read by the colors of classes.txt"))
    voc = {color: value for value, color in enumerate(map(tuple, voc_palette(classes).tolist()))} | {
        VOC_VOID: IGNORE_INDEX
    }
    voc_form = MaskForm(
        "colors", {pack(color): value for color, value in voc.items()}, classes, "read by the colors of VOC's palette"
    )
    ids = [id_form(classes), voc_form]
    return [*forms, *(reversed(ids) if _reindexed(contents) else ids), *_other_orders(classes, listed.background_line)]


def _palettes_agree(contents: Sequence[MaskContent], colors: Mapping[Color, int]) -> bool:
    """Whether the masks have palettes that show each class in its color: their indices are ids."""
    by_color = {pack(color): value for color, value in colors.items()}
    pairs = [pair for content in contents for pair in content.index_of.items()]
    return bool(pairs) and all(by_color.get(color) == index for color, index in pairs if index != IGNORE_INDEX)


def _reindexed(contents: Sequence[MaskContent]) -> bool:
    """Whether palettes were made for each mask: black is not index 0, or an index has another color elsewhere."""
    pairs = {(index, color) for content in contents for color, index in content.index_of.items()}
    return any(index and color == BLACK for index, color in pairs) or len({index for index, _ in pairs}) < len(pairs)


def _one_class(contents: Sequence[MaskContent]) -> list[MaskForm]:
    """With a single class: 0 and 255, or black and one color."""
    values, colors = Counter[int](), Counter[int]()
    for content in contents:
        values.update(content.values or {})
        colors.update(content.colors or {})
    forms = []
    if values[IGNORE_INDEX] and not values[1]:
        says = "0 and 255 alone, and one class: 255 is the class, 0 the background"
        forms.append(MaskForm("values", {0: 0, IGNORE_INDEX: 1}, 2, says))
    others = [color for color in colors if color != BLACK]
    real = any(content.values is None or content.index_of.get(BLACK) for content in contents)
    if len(others) == 1 and colors[BLACK] and real:
        says = f"black and {unpack(others[0])} alone, and one class: that color is the class"
        forms.append(MaskForm("colors", {BLACK: 0, others[0]: 1}, 2, says))
    return forms


def _other_orders(classes: int, background_line: int | None) -> list[MaskForm]:
    """Ids in the order of a list with the background at another place, and ids that count classes from 0."""
    forms = []
    if background_line:
        table = {value: value + 1 for value in range(background_line)} | {
            background_line: 0,
            IGNORE_INDEX: IGNORE_INDEX,
        }
        table |= {value: value for value in range(background_line + 1, classes)}
        says = f"ids count the lines of classes.txt from 0, as the labels show: {background_line} is the background"
        forms.append(MaskForm("values", table, classes, says))
    table = {value: value + 1 for value in range(classes - 1)} | {IGNORE_INDEX: 0}
    says = "ids count the classes from 0, as the labels show: 0 is the first class, 255 the background"
    return [*forms, MaskForm("values", table, classes, says)]


def _foreground_alone(contents: Sequence[MaskContent], classes: int) -> str:
    """The doubt where masks cannot tell several classes apart; empty where they can."""
    used = [set(content.values) for content in contents if content.values is not None and set(content.values) != {0}]
    alone = used and all(values <= {0, IGNORE_INDEX} for values in used)
    if classes > 2 and contents and (alone or all(content.bits for content in contents)):
        return (
            "all masks hold foreground (1 bit, or 255) and background alone, which does not tell "
            f"{classes - 1} classes apart; save masks with one id for each class"
        )
    return ""


def _unclear_order(evidence: Evidence, readers: Sequence[MaskForm], listed: ClassList) -> str:
    """The doubt where the list has the background at another place, and the labels fit both orders."""
    line, orders = listed.background_line, _other_orders(len(listed.names) + 1, listed.background_line)
    if not line or orders[0] not in readers or evidence.prefers(readers[0], orders[0]):
        return ""
    return f"classes.txt has the background as number {line}; make it the first line, and 0 in the masks"
