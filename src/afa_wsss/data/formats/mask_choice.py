"""Which form the masks of a data set have: ids, one class against the background, or colors. Decided once for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.mask_colors import ClassList
from afa_wsss.data.files.mask_forms import MaskForm, id_form
from afa_wsss.data.files.mask_pixels import Color, MaskContent, pack, unpack
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.types import IGNORE_INDEX

VOC_VOID = (224, 224, 192)
"""Color of ignored pixels in VOC's masks."""

NO_BACKGROUND = "no mask holds 0: 255 is unknown, and the background is not scored"
OTHER_ORDER = "ids count from"
ONLY_VALUE = "is the only value beside 0, and there is one class: it is taken for that"
"""What is said of ids that are not plain."""

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

    def read_by(self, form: MaskForm) -> int:
        """Number of masks that a form gives every pixel of a meaning."""
        return sum(form.reads(content) for content in self.contents)

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
    forms, orders = _forms(contents, classes, listed), _other_orders(classes, listed.background_line)
    most = max(map(evidence.read_by, forms))
    readers = [form for form in forms if evidence.read_by(form) == most]
    others = [form for form in orders if evidence.read_by(form) >= most]
    chosen = next((form for form in (*readers[1:], *others) if evidence.prefers(form, readers[0])), readers[0])
    by_line = listed.background_line and orders[0] in others
    if not chosen.is_plain:
        return chosen
    if by_line and not evidence.prefers(chosen, orders[0]):
        return replace(chosen, doubt=_unclear_order(listed))
    values: set[int] = set().union(*(content.values or {} for content in contents))
    no_background = 0 not in values and IGNORE_INDEX in values
    return replace(chosen, says=NO_BACKGROUND) if no_background else chosen


def form_warnings(form: MaskForm) -> list[Problem]:
    """What to say before training: masks that cannot be read, ids in another order, masks without a background."""
    if form.doubt:
        return [Problem("masks unclear", "masks", f"need masks whose values are classes: {form.doubt}", "warning")]
    if form.says.endswith(ONLY_VALUE):
        return [Problem("ids of masks", "masks", f"need 1 for the class in masks: {form.says}", "warning")]
    if form.says == NO_BACKGROUND or form.says.startswith(OTHER_ORDER):
        return [Problem("ids of masks", "masks", f"need 0 for the background in masks: {form.says}", "warning")]
    return []


def _forms(contents: Sequence[MaskContent], classes: int, listed: ClassList) -> list[MaskForm]:
    """Forms that masks may have, the likeliest first: colors that the user gave, one class, ids, VOC's colors."""
    forms = [*_one_class(contents)] if classes == 2 else []
    if listed.colors and not _palettes_agree(contents, listed.colors):
        table = {pack(color): value for color, value in listed.colors.items()}
        forms.insert(0, MaskForm("colors", table, classes, "read by the colors of classes.txt"))
    voc = {color: value for value, color in enumerate(map(tuple, voc_palette(classes).tolist()))}
    table = {pack(color): value for color, value in (voc | {VOC_VOID: IGNORE_INDEX}).items()}
    ids = [id_form(classes), MaskForm("colors", table, classes, "read by the colors of VOC's palette")]
    return [*forms, *(reversed(ids) if _reindexed(contents) else ids)]


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
    """With a single class: 0 and 255, 0 and another value, or black and one color."""
    values, colors = Counter[int](), Counter[int]()
    for content in contents:
        values.update(content.values or {})
        colors.update(content.colors or {})
    forms = []
    if values[IGNORE_INDEX] and not values[1]:
        says = "0 and 255 alone, and one class: 255 is the class, 0 the background"
        forms.append(MaskForm("values", {0: 0, IGNORE_INDEX: 1}, 2, says))
    single = set(values) - {0, IGNORE_INDEX}
    if len(single) == 1 and values[0] and not values[1]:
        (value,) = single
        says = f"{value} {ONLY_VALUE}"
        forms.append(MaskForm("values", {0: 0, value: 1, IGNORE_INDEX: IGNORE_INDEX}, 2, says))
    others = [color for color in colors if color != BLACK]
    real = any(content.values is None or content.index_of.get(BLACK) for content in contents)
    if len(others) == 1 and colors[BLACK] and real:
        says = f"black and {unpack(others[0])} alone, and one class: that color is the class"
        forms.append(MaskForm("colors", {BLACK: 0, others[0]: 1}, 2, says))
    return forms


def _other_orders(classes: int, background_line: int | None) -> list[MaskForm]:
    """Orders of ids that count only where the photos' labels show them.

    Args:
        classes: Number of classes with background.
        background_line: Place of the background in the list of classes; where it is not the first, its order comes
            first.
    """
    forms = []
    if background_line:
        lines = [*range(1, background_line + 1), 0, *range(background_line + 1, classes)]
        forms.append(_order(lines, 0, classes, f"{background_line} is the background", ignored=IGNORE_INDEX))
    forms.append(_order(range(1, classes), 0, classes, "0 is the first class, 255 the background", ignored=0))
    forms.append(_order(range(classes), 1, classes, "1 is the background, 2 the first class", ignored=IGNORE_INDEX))
    return forms


def _order(meanings: Sequence[int], first: int, classes: int, says: str, *, ignored: int) -> MaskForm:
    """Ids that count from ``first`` and mean ``meanings`` in turn; 255 means ``ignored``."""
    table = dict(enumerate(meanings, first)) | {IGNORE_INDEX: ignored}
    return MaskForm("values", table, classes, f"{OTHER_ORDER} {first}, as the labels show: {says}")


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


def _unclear_order(listed: ClassList) -> str:
    """The doubt where the list has the background at another place, and the labels fit both orders."""
    return (
        f"classes.txt has the background as number {listed.background_line} from 0, and masks may have it as 0 or as "
        f"{listed.background_line}; make it the first line, and 0 in the masks"
    )
