"""A trained network ready for photos: the front door for using a checkpoint from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from afa_wsss.api.checkpoints import Checkpoint, read_checkpoint
from afa_wsss.api.device import find_device
from afa_wsss.api.segmentation import Photo, Segmentation, as_pixels
from afa_wsss.data.files.shared_range import SharedRange
from afa_wsss.data.files.value_range import RangeSetting
from afa_wsss.data.loading.shrink import shrunk
from afa_wsss.errors import UserError
from afa_wsss.inference import ClassGate, InferenceSettings, Views, multi_scale_logits, multi_scale_maps, refined_scores
from afa_wsss.inference.settings import NO_REFINEMENT
from afa_wsss.models import AFA
from afa_wsss.models.fused_norms import FusedNorms
from afa_wsss.ops.full_size import enlarge_labels, labels_at
from afa_wsss.ops.image import normalize, resize
from afa_wsss.supervision import LabelMaker
from afa_wsss.supervision.made import check_made, check_stages
from afa_wsss.types import Batch, affinity_row


class Segmenter:
    """A network with its class names, for photos of any size; made by ``load``.

    Attributes:
        class_names: Foreground classes, in the order of their labels from 1.
        palette: (k + 1, 3) uint8 colors, background first.
        device: Where the network is.
        max_side: Longest side in pixels that the network gets: larger photos are shrunk for it, and labels and maps
            come back at the photo's size. None to shrink none.

    Example:
        >>> from afa_wsss.models import create_model
        >>> from afa_wsss.supervision import AFALabels
        >>> network, palette = create_model("mit_nano", num_classes=2), np.zeros((3, 3), np.uint8)
        >>> segmenter = Segmenter(network, ["cat", "dog"], palette, label_maker=AFALabels())
        >>> photo = np.zeros((64, 96, 3), np.uint8)
        >>> segmenter.predict(photo).labels.shape
        (64, 96)
        >>> segmenter.cam(photo, classes=["dog"]).shape
        (1, 64, 96)
        >>> sorted(segmenter.stages(photo, classes=["cat"]))
        ['cam', 'cam_par', 'pseudo_label', 'walk']
    """

    def __init__(
        self,
        network: AFA,
        class_names: Sequence[str],
        palette: UInt8[np.ndarray, "c 3"],
        *,
        inference: InferenceSettings | None = None,
        label_maker: LabelMaker | None = None,
        checkpoint: Checkpoint | None = None,
        max_side: int | None = None,
        value_range: RangeSetting = "auto",
        class_thresholds: Mapping[str, float] | None = None,
    ) -> None:
        """Wraps a trained network.

        Args:
            network: In evaluation mode from here on.
            class_names: Foreground classes.
            palette: (k + 1, 3).
            inference: Scales, mirror and refinement; None for one scale without mirror or refinement.
            label_maker: Makes pseudo labels; None for the one of ``checkpoint``.
            checkpoint: Where the network is from, if it is from a file.
            max_side: Longest side in pixels that photos are shrunk to; None to shrink none.
            value_range: The values that become black and white in photos of more than 8 bits; ``auto`` for each
                photo's own.
            class_thresholds: What ``inference.gate=auto`` goes by, see ``Checkpoint``.
        """
        self.network, self._fused = network.eval(), FusedNorms()
        self.class_names, self.palette = tuple(class_names), palette
        self.inference = inference or InferenceSettings()
        self._label_maker, self._checkpoint = label_maker, checkpoint
        self.max_side, self.range_of = max_side, SharedRange(value_range, list)
        self.gate = ClassGate(self.class_names, class_thresholds)
        self.device = next(network.parameters()).device

    @cached_property
    def label_maker(self) -> LabelMaker:
        """Makes pseudo labels; imported and checked on first use.

        Raises:
            UserError: Where neither a label maker nor a checkpoint was given.
        """
        if self._label_maker is not None:
            return self._label_maker
        if self._checkpoint is None:
            raise UserError("need a label maker for pseudo labels, got none", arguments=("label_maker",))
        return self._checkpoint.label_maker()

    @overload
    def predict(
        self, photo: Photo, *, crf: bool | None = None, refinement: str | None = None, scores: bool = False
    ) -> Segmentation: ...

    @overload
    def predict(
        self, photo: list[Photo], *, crf: bool | None = None, refinement: str | None = None, scores: bool = False
    ) -> list[Segmentation]: ...

    def predict(
        self, photo: Any, *, crf: bool | None = None, refinement: str | None = None, scores: bool = False
    ) -> Any:
        """Labels every pixel by the segmentation branch, which sees the photo alone.

        Args:
            photo: A path, a PIL image, or uint8 values (H, W, 3); a list gives a list.
            crf: True is the same as ``refinement="crf"``, False as ``refinement="none"``.
            refinement: ``none``, ``par`` or ``crf``; None for what the checkpoint says.
            scores: Whether the result holds the probability of each class.

        Raises:
            UserError: For a photo that cannot be read, is smaller than the backbone allows, or is no photo; an unknown
                refinement, and both words for one.
        """
        inference = self._with_refinement(crf, refinement)
        if isinstance(photo, list | tuple):
            return [self.predict(one, refinement=inference.refinement, scores=scores) for one in photo]
        pixels = as_pixels(photo, self.range_of)
        with torch.inference_mode():
            network, images = self._fused.of(self.network), self._tensor(pixels)
            views = Views(network, normalize(images), scales=inference.scales, mirror=inference.mirror)
            size = pixels.shape[:2]
            found = multi_scale_logits(views, views.images, scales=inference.scales, mirror=inference.mirror)
            found = self.gate.apply(inference.gate, found, views.class_logits())
            if inference.refines:
                found = refined_scores(images, found, inference)
            labels = labels_at(found, size)[0].cpu().numpy()
            full = resize(found, size) if scores else found
            kept = (full if inference.refines else full.softmax(dim=1))[0].cpu().numpy() if scores else None
            class_scores = views.class_logits()[0].float().sigmoid().cpu().numpy()
        return Segmentation(pixels, labels, kept, self.class_names, self.palette, class_scores)

    def _with_refinement(self, crf: bool | None, refinement: str | None) -> InferenceSettings:
        """The settings of inference with the refinement that was asked for."""
        if crf is not None and refinement is not None:
            message = f"need refinement alone, got {refinement!r} and crf={crf}; leave out crf"
            raise UserError(message, arguments=("crf", "refinement"))
        if crf is not None:
            refinement = "crf" if crf else NO_REFINEMENT
        return self.inference if refinement is None else replace(self.inference, refinement=refinement)

    def _tensor(self, pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[Tensor, "1 3 h w"]:
        """The photo as the network gets it."""
        small = shrunk(pixels, self.max_side)
        return torch.from_numpy(small.copy()).permute(2, 0, 1)[None].to(self.device)

    @torch.inference_mode()
    def cam(self, photo: Photo, classes: Iterable[str] | None = None) -> Float32[np.ndarray, "s H W"]:
        """Class activation maps over the checkpoint's scales, in [0, 1].

        Args:
            photo: A path, a PIL image, or uint8 values (H, W, 3).
            classes: Names of the classes wanted, in this order; None for all.

        Raises:
            UserError: For an unknown class, and a photo that cannot be read.
        """
        wanted = self._columns(self.class_names if classes is None else classes)
        pixels, scales = as_pixels(photo, self.range_of), self.inference.cam_scales
        if not wanted:
            return np.zeros((0, *pixels.shape[:2]), dtype=np.float32)
        views = Views(self.network, normalize(self._tensor(pixels)), cam_scales=scales)
        chosen = torch.tensor([wanted], device=self.device)
        cam, _ = multi_scale_maps(views, views.images, scales=scales, classes=chosen)
        return resize(cam, pixels.shape[:2])[0].cpu().numpy()

    @torch.inference_mode()
    def pseudo_label(self, photo: Photo, classes: Iterable[str]) -> UInt8[np.ndarray, "H W"]:
        """What the label maker would train with at the end of training: classes, background 0, 255 unknown.

        Args:
            photo: A path, a PIL image, or uint8 values (H, W, 3).
            classes: Names of the classes that are in the photo; none for a photo that is all background.

        Raises:
            UserError: For an unknown class, a photo that cannot be read, and a label maker without pixel
                labels.
        """
        batch, views, size = self._batch(photo, classes)
        found = self.label_maker.targets(views, batch, views.images, views.output(), step=sys.maxsize)
        check_made(found, {}, self.label_maker, batch=batch, grid=views.grid(*batch.images.shape[-2:]))
        labels = found.pseudo_label
        if labels is None:
            raise UserError(f"need a label maker that makes pixel labels, {type(self.label_maker).__name__} does not")
        return enlarge_labels(labels, size)[0].cpu().numpy()

    @torch.inference_mode()
    def stages(self, photo: Photo, classes: Iterable[str]) -> dict[str, UInt8[np.ndarray, "H W"]]:
        """Labels after each stage of the label maker, by name; AFA's are cam, cam_par, walk and pseudo_label.

        Unlike the method ``pseudo_label`` each is thresholded once, so no pixel is unknown.

        Args:
            photo: A path, a PIL image, or uint8 values (H, W, 3).
            classes: Names of the classes that are in the photo; none for a photo that is all background.

        Raises:
            UserError: For an unknown class, and a photo that cannot be read.
        """
        batch, views, size = self._batch(photo, classes)
        found = self.label_maker.stages(views, batch, views.images, views.output())
        check_stages(found, self.label_maker, batch=batch)
        return {name: enlarge_labels(stage.labels, size)[0].cpu().numpy() for name, stage in found.items()}

    @torch.inference_mode()
    def affinity(self, photo: Photo, point: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
        """Affinity in (0, 1) of the token at ``point`` with every token of the grid.

        Args:
            photo: A path, a PIL image, or uint8 values (H, W, 3).
            point: Row and column in the photo.

        Raises:
            UserError: For a point outside the photo, and a photo that cannot be read.
        """
        pixels = as_pixels(photo, self.range_of)
        (height, width), (row, column) = pixels.shape[:2], point
        if not (0 <= row < height and 0 <= column < width):
            raise UserError(f"need a point inside {height} x {width} pixels, got {point}", arguments=("point",))
        views = Views(self.network, normalize(self._tensor(pixels)))
        rows, columns = views.grid(*views.images.shape[-2:])
        token = (row * rows // height) * columns + column * columns // width
        return affinity_row(views.output().pairs, 0, token).view(rows, columns).float().cpu().numpy()

    def _batch(self, photo: Photo, classes: Iterable[str]) -> tuple[Batch, Views, tuple[int, int]]:
        """A photo with its image labels and the network on it, as the label maker takes them, and its full size."""
        columns, pixels = self._columns(classes), as_pixels(photo, self.range_of)
        images = self._tensor(pixels)
        height, width = images.shape[-2:]
        image_labels = torch.zeros(1, len(self.class_names), device=self.device)
        image_labels[0, columns] = 1
        frame = torch.tensor([[0, height, 0, width]], device=self.device)
        batch = Batch(images, image_labels, frame, ("",), None, len(set(columns)), full_frames=True)
        views = Views(self.network, normalize(images), cam_scales=getattr(self.label_maker, "cam_scales", ()))
        return batch, views, (pixels.shape[0], pixels.shape[1])

    def _columns(self, classes: Iterable[str]) -> list[int]:
        wanted = [classes] if isinstance(classes, str) else list(classes)
        unknown = [name for name in wanted if name not in self.class_names]
        if unknown or isinstance(classes, str):
            got = repr(classes) if isinstance(classes, str) else ", ".join(unknown)
            raise UserError(
                f"need a list of classes of {', '.join(self.class_names)}; got {got}", arguments=("classes",)
            )
        return [self.class_names.index(name) for name in wanted]


def load(checkpoint: str | os.PathLike[str], device: str = "auto") -> Segmenter:
    """A segmenter from a checkpoint of a training run or of the official AFA code; never runs code from the file.

    Args:
        checkpoint: ``best.ckpt`` or ``last.ckpt`` of a run, or the official code's ``.pth``.
        device: ``auto`` for a GPU where there is one, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: For a file that is none of these, and a device that is not there.
    """
    found = read_checkpoint(os.fspath(checkpoint))
    network = found.network().to(find_device(device))
    return Segmenter(
        network,
        found.class_names,
        found.palette,
        inference=found.inference(),
        checkpoint=found,
        max_side=found.max_side(),
        value_range=found.value_range(),
        class_thresholds=found.class_thresholds,
    )
