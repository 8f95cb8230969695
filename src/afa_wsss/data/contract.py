"""Checks that a data set of one's own is a ``SegmentationDataset`` in what it holds: its lists, and every sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Shaped

from afa_wsss.data.base import Sample, SegmentationDataset
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX


def check_split(dataset: SegmentationDataset) -> None:
    """Checks classes, names, palette and image labels of a split that was opened.

    Raises:
        UserError: For what the contract does not allow, naming the class of the data set.
    """
    of = type(dataset).__name__
    _check_classes(dataset, of)
    _check_names(dataset, of)
    labels, wanted = dataset.image_labels, (len(dataset), len(dataset.class_names))
    if labels is None and not dataset.names:  # read with the photos
        return
    if not (isinstance(labels, np.ndarray) and labels.shape == wanted):
        _refuse(f"an array of shape {wanted} as {of}.image_labels", _told(labels))
    _check_multi_hot(labels, f"{of}.image_labels")


def _check_classes(dataset: SegmentationDataset, of: str) -> None:
    classes: Any = dataset.class_names
    if (
        isinstance(classes, str)
        or not isinstance(classes, Sequence)
        or not all(isinstance(one, str) for one in classes)
    ):
        _refuse(f"a tuple of names as {of}.class_names", repr(classes))
    if not 0 < len(set(classes)) == len(classes) < IGNORE_INDEX:
        _refuse(f"1 to {IGNORE_INDEX - 1} different names as {of}.class_names", ", ".join(classes) or "none")
    palette = np.asarray(dataset.palette)
    if palette.shape != (len(classes) + 1, 3) or palette.dtype != np.uint8:
        _refuse(f"uint8 of shape ({len(classes) + 1}, 3), background first, as {of}.palette", _told(palette))


def _check_names(dataset: SegmentationDataset, of: str) -> None:
    names = dataset.names
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        _refuse(f"a list of text as {of}.names", f"{type(names).__name__} of others")
    if names and len(names) != len(dataset):
        _refuse(f"a name for each of {len(dataset)} photos as {of}.names", str(len(names)))
    if len(set(names)) != len(names):
        _refuse(f"different names as {of}.names", f"{next(name for name in names if names.count(name) > 1)} twice")


def read_sample(dataset: SegmentationDataset, index: int) -> Sample:
    """``dataset.sample(index)``, checked.

    Raises:
        UserError: As it does, and for what is no photo, no multi-hot labels, or no mask of the photo's size.
    """
    return checked(dataset.sample(index), dataset)


def checked(sample: Sample | Any, dataset: SegmentationDataset) -> Sample:
    """A sample of ``dataset`` as it is.

    Raises:
        UserError: See ``read_sample``.
    """
    call, classes = f"{type(dataset).__name__}.sample", len(dataset.class_names)
    if not isinstance(sample, Sample):
        _refuse(f"an afa_wsss.data.Sample from {call}", type(sample).__name__)
    of, image = f"of {sample.name!r} from {call}", sample.image
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        _refuse(f"RGB of 0 to 255, uint8 of shape (H, W, 3), for the image {of}", _told(image))
    labels = sample.image_labels
    if not (isinstance(labels, np.ndarray) and labels.shape == (classes,) and labels.dtype == np.float32):
        _refuse(f"float32 of shape ({classes},) for the image_labels {of}", _told(labels))
    _check_multi_hot(labels, f"the image_labels {of}")
    if sample.mask is not None:
        _check_mask(sample.mask, image.shape[:2], classes, f"for the mask {of}")
    return sample


def _check_mask(mask: Any, size: tuple[int, ...], classes: int, where: str) -> None:
    if not (isinstance(mask, np.ndarray) and mask.dtype == np.uint8 and mask.shape == size):
        _refuse(f"uint8 of shape {size} {where}", _told(mask))
    largest = int(np.where(mask == IGNORE_INDEX, 0, mask).max(initial=0))
    if largest > classes:
        _refuse(f"classes 0 to {classes}, 0 for background and {IGNORE_INDEX} for ignored, {where}", str(largest))


def _check_multi_hot(labels: Shaped[np.ndarray, "..."], what: str) -> None:
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        _refuse(f"0 and 1 in {what}", str(labels[wrong][0]))


def _told(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _refuse(wanted: str, got: str) -> NoReturn:
    raise UserError(f"need {wanted}, got {got}", arguments=("dataset",))
