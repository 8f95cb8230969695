"""A network on one batch of photos, each of whose scales and mirror images passes the encoder once.

Prediction, class activation maps, affinity and class logits read the same features, and validation wants all of them.
``multi_scale_maps`` and ``multi_scale_logits`` ask any network anew for each; given ``Views``, they share its passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.image import resize
from afa_wsss.types import AFAOutput, AffinityPairs, View


@runtime_checkable
class Viewed(Protocol):
    """A network that gives everything from one pass; ``afa_wsss.models.AFA`` is one."""

    num_classes: int

    def view(self, images: Tensor, *, decoded: int = 0, paired: int = 0) -> View:
        """All branches on one pass of the encoder: see ``AFA.view``."""

    def activate(
        self, images: Tensor, *, affinity: bool = False, mirror: bool = False
    ) -> tuple[Tensor, AffinityPairs | Tensor | None]:
        """See ``AFA.activate``."""

    def segment(self, images: Tensor) -> Tensor:
        """See ``AFA.segment``."""

    def forward_activates(self) -> bool:
        """See ``AFA.forward_activates``."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Token grid of an image of that size."""


class Maps(NamedTuple):
    """Class activation maps of the photos and of their mirror images at one scale, and the photos' affinity."""

    cam: Float[Tensor, "b k h w"]
    mirrored: Float[Tensor, "b k h w"]
    affinity: AffinityPairs | Tensor | None


def scaled(images: Float[Tensor, "b 3 H W"], scale: float, *, least: int = 1) -> Float[Tensor, "b 3 _ _"]:
    """The images at a scale; at 1 the images themselves. Sides that would be under ``least`` pixels have as many."""
    size = size_at(images.shape[-2:], scale, least=least)
    return images if size == tuple(images.shape[-2:]) else resize(images, size)


def smallest_side(network: object) -> int:
    """The smallest side of images that a network takes, in pixels; 1 where it does not say."""
    return int(getattr(network, "smallest_side", 1))


def size_at(size: Sequence[int], scale: float, *, least: int = 1) -> tuple[int, int]:
    """Height and width of ``scaled`` images."""
    height, width = (max(least, int(side * scale)) for side in size)
    return height, width


class Views:
    """Stands for the network where a label maker or a multi-scale function is given it, for one batch of photos.

    What is asked of these photos (the very tensor) is computed once; everything else goes to the network. Class logits,
    maps and affinity are remembered, which lie on the token grid. Segmentation logits are not, except at scale 1: ask
    for them first.

    The plan says what will be asked for, so that one pass serves it all. What is not in the plan is computed as well,
    in a pass of its own.

    Attributes:
        network: In evaluation mode.
        images: Normalized photos.
        least: Smallest side that the network takes: photos that are narrower, at a scale, are enlarged to it.
        scale: Where class logits are read, and what pictures and checks show: 1 if segmentation logits are wanted
            there, else the largest scale at which they are. So they need no pass of their own.
    """

    def __init__(
        self,
        network: Viewed,
        images: Float[Tensor, "b 3 H W"],
        *,
        scales: Sequence[float] = (),
        mirror: bool = False,
        cam_scales: Sequence[float] = (),
    ) -> None:
        """Runs nothing yet.

        Args:
            network: In evaluation mode.
            images: Normalized photos of one size.
            scales: Plan: scales of the segmentation logits.
            mirror: Plan: whether those of the mirror images are wanted too.
            cam_scales: Plan: scales of the class activation maps; the largest gives the affinity.
        """
        self.network, self.images, self.num_classes = network, images, network.num_classes
        self.least = smallest_side(network)
        self.scale = 1.0 if 1.0 in scales else max(scales, default=1.0)
        self._decoded = {(scale, flip) for scale in scales for flip in ((False, True)[: 1 + mirror])}
        self._both = {*cam_scales, *(scales if mirror else ())}
        self._paired = {self.scale, max(cam_scales, default=1.0)}
        self._seen: dict[tuple[float, bool], View] = {}

    def __call__(self, images: Float[Tensor, "b 3 _ _"]) -> AFAOutput:
        """``network(images)``; ``output`` where the images are the photos."""
        if images is self.images:
            return self.output()
        found: AFAOutput = self.network(images)  # type: ignore[operator]  # a module where a label maker calls it
        return found

    def output(self) -> AFAOutput:
        """The network's output for the photos, as ``network(images)`` gives it; what nobody reads is not computed."""
        return _OutputWhenRead(self)

    def class_logits(self) -> Float[Tensor, "b k"]:
        """Of the photos, at ``scale``."""
        return self._view(self.scale).class_logits

    def shown(self) -> tuple[Float[Tensor, "b k h w"], AffinityPairs | Tensor]:
        """Class scores of the tokens and their affinity, at ``scale``.

        Raises:
            UserError: For a network whose ``view`` leaves out the affinity.
        """
        seen = self._view(self.scale, paired=True)
        return seen.cam, _pairs_of(seen)

    def maps(self, scale: float, *, affinity: bool) -> Maps:
        """Maps of the photos and of their mirror images; the affinity if it is wanted."""
        seen = self._view(scale, paired=affinity)
        return Maps(seen.cam, self._view(scale, flip=True).cam, seen.affinity if affinity else None)

    def logits(self, scale: float, *, mirror: bool) -> list[Float[Tensor, "b c _ _"]]:
        """Segmentation logits of the photos and, with ``mirror``, of their mirror images."""
        keys = [(scale, flip) for flip in (False, True)[: 1 + mirror]]
        found = [self._view(*key, decoded=True).seg_logits for key in keys]
        if scale != 1.0:  # at most those of one scale at a time are in memory
            self._seen |= {key: self._seen[key]._replace(seg_logits=None) for key in keys}
        return [logits for logits in found if logits is not None]

    def activate(
        self, images: Tensor, *, affinity: bool = False, mirror: bool = False
    ) -> tuple[Tensor, AffinityPairs | Tensor | None]:
        """``network.activate``; reused where the images are the photos."""
        if images is not self.images:
            return self.network.activate(images, affinity=affinity, mirror=mirror)
        seen = self._view(1.0, paired=affinity)
        cam = torch.cat([seen.cam, self._view(1.0, flip=True).cam]) if mirror else seen.cam
        return cam, seen.affinity if affinity else None

    def segment(self, images: Tensor) -> Tensor:
        """``network.segment``; reused where the images are the photos."""
        return self.logits(1.0, mirror=False)[0] if images is self.images else self.network.segment(images)

    def forward_activates(self) -> bool:
        """That of the network."""
        return self.network.forward_activates()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """That of the network, for sides of at least ``least``."""
        return self.network.grid(max(self.least, height), max(self.least, width))

    def _view(self, scale: float, flip: bool = False, *, decoded: bool = False, paired: bool = False) -> View:
        """What is known of the photos, or of their mirror images, at a scale; computed where something is missing."""
        key = (scale, flip)
        self._decoded |= {key} if decoded else set()
        self._paired |= {scale} if paired else set()
        seen = self._seen.get(key)
        if seen is None and scale in self._both and (scale, not flip) not in self._seen:
            self._run(scale, (False, True))
        elif seen is None or (decoded and seen.seg_logits is None) or (paired and seen.affinity is None):
            self._run(scale, (flip,))
        return self._seen[key]

    def _run(self, scale: float, flips: tuple[bool, ...]) -> None:
        """One pass of the photos, the mirror images, or both, with what the plan wants of them."""
        images, count = scaled(self.images, scale, least=self.least), len(self.images)
        images = torch.cat([images.flip(-1) if flip else images for flip in flips])
        decoded = max((place + 1 for place, flip in enumerate(flips) if (scale, flip) in self._decoded), default=0)
        paired = scale in self._paired and not flips[0]
        found = self.network.view(images, decoded=decoded * count, paired=count if paired else 0)
        decodings = () if found.seg_logits is None else torch.split(found.seg_logits, count)
        for place, flip in enumerate(flips):
            rows = slice(place * count, (place + 1) * count)
            logits, affinity = decodings[place] if place < len(decodings) else None, None if flip else found.affinity
            self._seen[scale, flip] = View(found.class_logits[rows], found.cam[rows], logits, affinity)


class _OutputWhenRead(AFAOutput):
    """The output at scale 1, whose values are computed when they are read: often none is."""

    _views: Views

    def __new__(cls, views: Views) -> _OutputWhenRead:
        """Of nothing yet."""
        made = AFAOutput.__new__(cls, None, None, None, None)  # type: ignore[arg-type]  # the properties below stand in
        made._views = views
        return made

    @property
    def class_logits(self) -> Tensor:
        return self._views._view(1.0).class_logits

    @property
    def seg_logits(self) -> Tensor:
        logits = self._views._view(1.0, decoded=True).seg_logits
        if logits is None:
            raise _left_out("segmentation logits")
        return logits

    @property
    def pairs(self) -> AffinityPairs | Tensor:
        return _pairs_of(self._views._view(1.0, paired=True))

    @property
    def cam(self) -> Tensor:
        return self._views._view(1.0).cam

    def _replace(self, **changes: Any) -> Any:
        """An output of these values and the others as they are."""
        names = {"affinity": "pairs"}  # under which it is read as it is stored
        kept = {name: getattr(self, names.get(name, name)) for name in self._fields if name not in changes}
        return AFAOutput(**kept, **changes)


def _pairs_of(seen: View) -> AffinityPairs | Tensor:
    if seen.affinity is None:
        raise _left_out("the affinity")
    return seen.affinity


def _left_out(what: str) -> UserError:
    return UserError(f"need a network whose view(images, decoded=1, paired=1) gives {what}, got None")
