"""A data set of one's own is checked when it is opened, and each of its samples when it is read."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data.samples import Noise

from afa_wsss.data.base import Sample
from afa_wsss.data.contract import check_split, read_sample
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError
from afa_wsss.training.datamodule import AFADataModule


def having(**attributes: object) -> Noise:
    photos = Noise()
    vars(photos).update(attributes)
    return photos


class Changing(Noise):
    """Samples that were changed."""

    def __init__(self, change, **settings) -> None:
        super().__init__(**settings)
        self.change = change

    def sample(self, index):
        return self.change(super().sample(index))


LABELS = Noise.image_labels


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(bool), LABELS.astype(np.float32)])
def test_labels_of_zeros_and_ones_pass(labels) -> None:
    check_split(having(image_labels=labels))
    check_split(having(class_names=["cat", "dog"], names=np.array(list("abcdef"))))
    for none in ((), np.array([], dtype=str)):
        check_split(having(names=none, image_labels=None))
    with pytest.raises(UserError, match="got NoneType"):
        check_split(having(names=np.array(list("abcdef")), image_labels=None))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"class_names": "cd"}, r"need a tuple of names as Noise.class_names, got 'cd'"),
        ({"class_names": (1, 2)}, r"need a tuple of names as Noise.class_names, got \(1, 2\)"),
        ({"class_names": ("cat", "cat")}, "need 1 to 254 different names as Noise.class_names, got cat, cat"),
        ({"class_names": ()}, "got none"),
        (
            {"class_names": ("Background", "cat")},
            "need foreground classes alone as Noise.class_names, since background is class 0 of itself, got Background",
        ),
        ({"names": tuple(range(6))}, "need a list of text as Noise.names, got tuple of others"),
        ({"names": set("abcdef")}, "need a list of text as Noise.names, got set of others"),
        ({"names": tuple("abcdee")}, "need different names as Noise.names, got e twice"),
        (
            {"palette": np.zeros((2, 3), dtype=np.uint8)},
            r"need uint8 of shape \(3, 3\), background first, as .*\(2, 3\)",
        ),
        ({"palette": np.zeros((3, 3))}, "got float64"),
        (
            {"image_labels": LABELS[:-1]},
            r"need an array of shape \(6, 2\) as Noise.image_labels, got uint8 of shape \(5, 2\)",
        ),
        ({"image_labels": LABELS.argmax(axis=1)}, r"got int64 of shape \(6,\)"),
        ({"image_labels": LABELS.tolist()}, "got list"),
        ({"image_labels": None}, "got NoneType"),
        ({"image_labels": LABELS * 3}, "need 0 and 1 in Noise.image_labels, got 3"),
        ({"image_labels": LABELS * 0.5}, "got 0.5"),
        ({"image_labels": LABELS * np.nan}, "got nan"),
        ({"image_labels": LABELS.astype(int) * 2 - 1}, "got -1"),
    ],
)
def test_lists_that_do_not_fit_are_named(attributes, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        check_split(having(**attributes))
    assert error.value.arguments == ("dataset",)


def test_names_are_as_many_as_photos() -> None:
    class Longer(Noise):
        def __len__(self):
            return 7

    with pytest.raises(UserError, match=r"need a name for each of 7 photos as Longer\.names, got 6"):
        check_split(Longer())


def of_image(change):
    return lambda sample: sample._replace(image=change(sample.image))


def of_mask(change):
    return lambda sample: sample._replace(mask=change(sample.mask))


def of_labels(change):
    return lambda sample: sample._replace(image_labels=change(sample.image_labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tuple, "need an afa_wsss.data.Sample from Changing.sample, got tuple"),
        (lambda sample: None, "got NoneType"),
        (Sample._asdict, "got dict"),
        (lambda sample: sample._replace(name=1), r"need text as the name of a sample from Changing\.sample, got 1"),
        (
            of_image(lambda image: image / 255),
            r"need RGB of 0 to 255, uint8 .* image of 'b' .*, got float64 of shape \(31, 49, 3\)",
        ),
        (of_image(lambda image: image.transpose(2, 0, 1)), r"got uint8 of shape \(3, 31, 49\)"),
        (of_image(lambda image: image[..., 0]), r"got uint8 of shape \(31, 49\)"),
        (of_image(lambda image: np.concatenate([image, image], axis=2)), r"got uint8 of shape \(31, 49, 6\)"),
        (of_image(lambda image: image.tolist()), "got list"),
        (
            of_labels(lambda labels: labels[:1]),
            r"need shape \(2,\) for the image_labels of 'b' from Changing.sample, got float32",
        ),
        (of_labels(lambda labels: labels.tolist()), "got list"),
        (
            of_labels(lambda labels: 1 - labels),
            r"need the classes of Changing.image_labels\[1\], cat, for 'b' from Changing.sample, got dog",
        ),
        (of_labels(lambda labels: labels * 0), "got no class"),
        (of_labels(lambda labels: labels / 2), "need 0 and 1 in the image_labels of 'b' from Changing.sample, got 0.5"),
        (
            of_mask(lambda mask: mask[1:]),
            r"need integers of shape \(31, 49\) for the mask of 'b' .*, got uint8 of shape \(30, 49\)",
        ),
        (of_mask(lambda mask: mask.astype(np.float32)), r"need integers .* for the mask of 'b' .*, got float32"),
        (of_mask(lambda mask: mask.astype(np.int64) - 1), r"for the mask of 'b' from Changing.sample, got -1"),
        (of_mask(lambda mask: mask + 7), r"need classes 0 to 2, .* for the mask of 'b' from Changing.sample, got 9"),
    ],
)
def test_samples_that_do_not_fit_are_named(change, message) -> None:
    photos = Changing(change)
    with pytest.raises(UserError, match=message):
        read_sample(photos, 1)
    data = AFADataModule(DataSettings(dataset=lambda split, with_masks: photos, train_split="train", val_split="val"))
    with pytest.raises(UserError, match=message):
        data.val_set[1]
    if "mask" not in message and "classes" not in message:
        with pytest.raises(UserError, match=message):
            data.train_set[0, 1]


def test_a_name_with_braces_is_named() -> None:
    with pytest.raises(
        UserError, match=r"for the image of 'a\{b\}' from Changing.sample, got uint8 of shape \(30, 50\)"
    ):
        read_sample(Changing(lambda sample: sample._replace(name="a{b}", image=sample.image[..., 0])), 0)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float64])
def test_labels_and_masks_of_other_types_are_converted(kind) -> None:
    sample = read_sample(Changing(of_labels(lambda labels: labels.astype(kind))), 0)
    assert (sample.image_labels.dtype, sample.image_labels.tolist()) == (np.float32, [1, 0])
    wanted = Noise().sample(0).mask
    found = read_sample(Changing(of_mask(lambda mask: mask.astype(np.int64))), 0).mask
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)


def test_ignored_pixels_and_photos_without_mask_pass() -> None:
    assert (
        read_sample(Changing(of_mask(lambda mask: np.where(mask == 2, 255, mask).astype(np.uint8))), 0).mask.max()
        == 255
    )
    assert read_sample(Noise(with_masks=False), 0).mask is None
