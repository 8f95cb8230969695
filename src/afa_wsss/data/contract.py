"""Checks that a data set of one's own is a ``SegmentationDataset`` in what it holds: its lists, and every sample."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from jaxtyping import Shaped

from afa_wsss.data.base import Sample, SegmentationDataset
from afa_wsss.data.files.mask_colors import is_background
from afa_wsss.errors import UserError, described
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
    if labels is None and len(dataset.names) == 0:  # read with the photos
        return
    if not (isinstance(labels, np.ndarray) and labels.shape == wanted):
        _refuse(f"an array of shape {wanted} as {of}.image_labels", described(labels))
    _check_multi_hot(labels, f"{of}.image_labels")


def _check_classes(dataset: SegmentationDataset, of: str) -> None:
    classes = _texts(dataset.class_names)
    if classes is None:
        _refuse(f"a tuple of names as {of}.class_names", repr(dataset.class_names))
    if not 0 < len(set(classes)) == len(classes) < IGNORE_INDEX:
        _refuse(f"1 to {IGNORE_INDEX - 1} different names as {of}.class_names", ", ".join(classes) or "none")
    background = next((name for name in classes if is_background(name)), None)
    if background is not None:
        _refuse(f"foreground classes alone as {of}.class_names, since background is class 0 of itself", background)
    palette = np.asarray(dataset.palette)
    if palette.shape != (len(classes) + 1, 3) or palette.dtype != np.uint8:
        _refuse(f"uint8 of shape ({len(classes) + 1}, 3), background first, as {of}.palette", described(palette))


def _check_names(dataset: SegmentationDataset, of: str) -> None:
    names = _texts(dataset.names)
    if names is None:
        _refuse(f"a list of text as {of}.names", f"{type(dataset.names).__name__} of others")
    if names and len(names) != len(dataset):
        _refuse(f"a name for each of {len(dataset)} photos as {of}.names", str(len(names)))
    if len(set(names)) != len(names):
        _refuse(f"different names as {of}.names", f"{next(name for name in names if names.count(name) > 1)} twice")


def _texts(values: Any) -> list[str] | None:
    """The texts of a list, a tuple or an array; None for anything else, such as a single text or a set."""
    if isinstance(values, str) or not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        return None
    texts = list(values)
    return texts if all(isinstance(text, str) for text in texts) else None


def read_sample(dataset: SegmentationDataset, index: int) -> Sample:
    """``dataset.sample(index)``, checked.

    Raises:
        UserError: As it does, and for what is no photo, no multi-hot labels, other labels than those of
            ``dataset.image_labels``, or no mask of the photo.
    """
    sample, listed = checked(dataset.sample(index), dataset), dataset.image_labels
    if listed is not None and (listed[index] != sample.image_labels).any():
        names, of = np.asarray(dataset.class_names), type(dataset).__name__
        own, others = (", ".join(names[labels > 0]) or "no class" for labels in (listed[index], sample.image_labels))
        _refuse(f"the classes of {of}.image_labels[{index}], {own}, for {sample.name!r} from {of}.sample", others)
    return sample


def checked(sample: Sample | Any, dataset: SegmentationDataset) -> Sample:
    """A sample of ``dataset``, its labels as float32 and its mask as uint8.

    Raises:
        UserError: See ``read_sample``.
    """
    call, classes = f"{type(dataset).__name__}.sample", len(dataset.class_names)
    if not isinstance(sample, Sample):
        _refuse(f"an afa_wsss.data.Sample from {call}", type(sample).__name__)
    if not isinstance(sample.name, str):
        _refuse(f"text as the name of a sample from {call}", repr(sample.name))
    of, image = f"of {sample.name!r} from {call}", sample.image
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        _refuse(f"RGB of 0 to 255, uint8 of shape (H, W, 3), for the image {of}", described(image))
    labels = sample.image_labels
    if not (isinstance(labels, np.ndarray) and labels.shape == (classes,)):
        _refuse(f"shape ({classes},) for the image_labels {of}", described(labels))
    _check_multi_hot(labels, f"the image_labels {of}")
    mask = sample.mask
    if mask is not None:
        _check_mask(mask, image.shape[:2], classes, f"for the mask {of}")
        mask = mask.astype(np.uint8, copy=False)
    return sample._replace(image_labels=labels.astype(np.float32, copy=False), mask=mask)


def _check_mask(mask: Any, size: tuple[int, ...], classes: int, where: str) -> None:
    if not (isinstance(mask, np.ndarray) and mask.dtype.kind in "ui" and mask.shape == size):
        _refuse(f"integers of shape {size} {where}", described(mask))
    wrong = (mask < 0) | ((mask > classes) & (mask != IGNORE_INDEX))
    if wrong.any():
        wanted = f"classes 0 to {classes}, 0 for background and {IGNORE_INDEX} for ignored, {where}"
        _refuse(wanted, str(mask[wrong][0]))


def _check_multi_hot(labels: Shaped[np.ndarray, "..."], what: str) -> None:
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        _refuse(f"0 and 1 in {what}", str(labels[wrong][0]))


def _refuse(wanted: str, got: str) -> NoReturn:
    raise UserError(f"need {wanted}, got {got}", arguments=("dataset",))
