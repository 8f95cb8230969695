"""The named tuples that the rooms of the package hand to one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from afa_wsss.errors import UserError as UserError

if TYPE_CHECKING:  # commands that need no torch start at once
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

WALK_LABELS = "labels from the walk"
"""Title of the phase of training in which the walk makes the pixel labels."""

IGNORE_INDEX = 255
"""Label of a pixel, or of a pair of tokens, that no loss and no score counts."""


class Batch(NamedTuple):
    """Photos as the loader yields them: uint8, so that little is copied to the device; normalized there.

    Attributes:
        images: RGB in 0-255.
        image_labels: Multi-hot, 1 where the class is somewhere in the photo.
        boxes: ``(y0, y1, x0, x1)`` of the photo inside the crop, half open; the rest is padding.
        names: Names of the photos, without folder or suffix.
        masks: Target classes at full size, background 0, 255 ignored; None where a data set has none, and in training
            but for label makers that need masks, which get those of the crops.
        most_classes: Largest number of classes in one photo, None if not counted. A Python int: reading it causes no
            device sync.
        full_frames: Whether every photo is known to fill its frame, without padding. A Python bool: reading it causes
            no device sync.
        full_sizes: Height and width of each photo on disk where any of them was shrunk; None where none was.
    """

    images: UInt8[Tensor, "b 3 H W"]
    image_labels: Float[Tensor, "b k"]
    boxes: Int[Tensor, "b 4"]
    names: tuple[str, ...]
    masks: UInt8[Tensor, "b _ _"] | None = None
    most_classes: int | None = None
    full_frames: bool = False
    full_sizes: tuple[tuple[int, int], ...] | None = None


@runtime_checkable
class Pairs(Protocol):
    """Values of all pairs of tokens, n x n of them, that are computed only where they are asked for."""

    def dense(self) -> Tensor:
        """All pairs, (b, n, n)."""


@runtime_checkable
class AffinityPairs(Pairs, Protocol):
    """An affinity that is not a tensor; ``ops.affinity.TokenAffinity`` is the one of the network."""

    def row(self, image: int, token: int) -> Tensor:
        """Affinity of one token with all tokens of its image, (n,)."""

    def detach(self) -> AffinityPairs:
        """The same without gradient."""


def dense(pairs: Pairs | Tensor) -> Tensor:
    """All pairs as one (b, n, n) tensor."""
    return pairs.dense() if hasattr(pairs, "dense") else pairs


def affinity_row(pairs: AffinityPairs | Tensor, image: int, token: int) -> Tensor:
    """Affinity of one token with all tokens of its image, (n,)."""
    return pairs.row(image, token) if hasattr(pairs, "row") else pairs[image, token]


def is_own(part: object) -> bool:
    """Whether the class of a part is none of this package's: what those make is checked by tests, not at each step."""
    return not type(part).__module__.startswith("afa_wsss.")


class _Computed:
    """Makes a named tuple unpack into its attributes, where some are computed from what it stores."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._fields)  # type: ignore[attr-defined]  # of the named tuple

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def _stored(self, index: int) -> Any:
        return tuple.__getitem__(self, index)  # type: ignore[call-overload]  # a named tuple is one

    def _replace(self, **changes: Any) -> Any:
        """Others in place of some values; what is not named stays as it is stored, and nothing is computed."""
        stored = {name: self._stored(index) for index, name in enumerate(self._fields)}  # type: ignore[attr-defined]
        return type(self)(**{**stored, **changes})


class _AFAOutput(NamedTuple):
    class_logits: Float[Tensor, "b k"]
    seg_logits: Float[Tensor, "b c H4 W4"] | None
    affinity: AffinityPairs | Tensor
    cam: Float[Tensor, "b k h w"]
    features: Float[Tensor, "b d h w"] | None = None


class AFAOutput(_Computed, _AFAOutput):
    """Output of the network for a batch; the token grid is h x w with n = h * w.

    The network stores the vectors that the affinity is made of, whose size is linear in n.

    Attributes:
        class_logits: One logit for each foreground class.
        seg_logits: Segmentation logits, background first, at a quarter of the input's size. Left out, and an error to
            read, at training steps at which nobody says to read them: see ``LossTerm.reads_seg_logits``.
        affinity: (b, n, n), symmetric, in (0, 1): how likely two tokens belong to one class (AFA, eq. 4). Computed with
            gradient at each access, n x n values.
        pairs: The affinity as it is stored: ``ops.affinity.TokenAffinity``, or the (b, n, n) tensor that was given.
        cam: The class weights applied to the last features, before ReLU, not normalized, without gradient.
        features: The last features of the encoder, with gradient, for losses that compare tokens; None where the output
            was put together without the network's ``forward``, as in validation.
    """

    __slots__ = ()

    @property
    def seg_logits(self) -> Tensor:  # stored as None where they were left out
        """Of the segmentation branch.

        Raises:
            UserError: Where they were left out.
        """
        if self._stored(1) is None:
            raise UserError(
                "need seg_logits, got an output without them, since no active loss and no label maker says to read "
                "them; set reads_seg_logits = True in the class that does"
            )
        stored: Tensor = self._stored(1)
        return stored

    @property
    def affinity(self) -> Tensor:
        """Of all pairs of tokens."""
        return dense(self.pairs)

    @property
    def pairs(self) -> AffinityPairs | Tensor:
        """The affinity as it is stored."""
        stored: AffinityPairs | Tensor = self._stored(2)
        return stored


class View(NamedTuple):
    """What the network makes of images in one pass of its encoder; see ``AFA.view``.

    Attributes:
        class_logits: One logit for each foreground class.
        cam: Class activation maps as in ``AFAOutput``.
        seg_logits: Segmentation logits at a quarter of the input's size, of the images that they were wanted of.
        affinity: Of the images that it was wanted of.
    """

    class_logits: Float[Tensor, "b k"]
    cam: Float[Tensor, "b k h w"]
    seg_logits: Float[Tensor, "_ c H4 W4"] | None = None
    affinity: AffinityPairs | Tensor | None = None


class Labels(NamedTuple):
    """Pixel labels of one prediction stage.

    Attributes:
        labels: Class of each pixel, background 0. Where one is 255, unknown, it counts as wrong in IoU and accuracy.
        scores: What the labels were thresholded from, in [0, 1], one map for each foreground class and 0 for absent
            classes. A stage that gives them is also scored at every background score and drawn as a heat map.
    """

    labels: UInt8[Tensor, "b H W"]
    scores: Float[Tensor, "b k H W"] | None = None


class _Targets(NamedTuple):
    image_labels: Float[Tensor, "b k"]
    pseudo_label: UInt8[Tensor, "b H W"] | None = None
    affinity_label: Pairs | Tensor | None = None
    photos: UInt8[Tensor, "b 3 H W"] | None = None
    boxes: Int[Tensor, "b 4"] | None = None
    others: Mapping[str, Tensor] = {}


class Targets(_Computed, _Targets):
    """What the losses compare the network's output with; a label maker makes them, ``Targets.of`` starts from a batch.

    Attributes:
        image_labels: Multi-hot.
        pseudo_label: Class of each pixel, background 0, 255 where it is not reliable; None if not made.
        affinity_label: (b, n, n): 1 where two tokens have one class, 0 where they differ, 255 unknown or far; None if
            not made. Where it was given as labels of the tokens, it is computed at each access.
        pair_labels: The affinity labels as they were given: ``ops.affinity.TokenLabels``, a (b, n, n) tensor, or None.
        photos: RGB in 0-255, for losses that compare colors; None without a batch.
        boxes: ``(y0, y1, x0, x1)`` of the photo inside the crop; None without a batch.
        others: Targets of other label makers, by name.
    """

    __slots__ = ()

    @property
    def affinity_label(self) -> Tensor | None:
        """Of all pairs of tokens."""
        return None if self.pair_labels is None else dense(self.pair_labels)

    @property
    def pair_labels(self) -> Pairs | Tensor | None:
        """The affinity labels as they were given."""
        stored: Pairs | Tensor | None = self._stored(2)
        return stored

    @classmethod
    def of(
        cls,
        batch: Batch,
        *,
        pseudo_label: UInt8[Tensor, "b H W"] | None = None,
        affinity_label: Pairs | Tensor | None = None,
        **others: Tensor,
    ) -> Targets:
        """The targets that every batch holds (``FROM_BATCH``) and those that were made of it."""
        return cls(batch.image_labels, pseudo_label, affinity_label, batch.images, batch.boxes, others)

    def has(self, name: str) -> bool:
        """Whether the target of that name was made."""
        attribute = "pair_labels" if name == "affinity_label" else name
        return name in self.others or (name in self._fields and getattr(self, attribute) is not None)


FROM_BATCH = ("image_labels", "photos", "boxes")
"""Targets that need no label maker."""
