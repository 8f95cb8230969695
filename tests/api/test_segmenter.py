"""Photos of any size, the words for classes, and devices."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from afa_wsss.api.device import find_device
from afa_wsss.api.segmenter import Segmenter
from afa_wsss.errors import UserError
from afa_wsss.inference import multi_scale_maps
from afa_wsss.models import create_model
from afa_wsss.ops.image import normalize, resize
from afa_wsss.supervision import AFALabels

NAMES = ("cat", "dog")


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    network = create_model("convnext_atto", num_classes=2, decoder_width=16, pretrained=None)
    return Segmenter(network, NAMES, np.zeros((3, 3), np.uint8), label_maker=AFALabels())


def photo_of(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 60), (60, 1), (3, 3)])
@pytest.mark.parametrize("classes", [["dog"], []])
def test_photos_that_are_narrower_than_the_network_allows(segmenter, size, classes):
    photo = photo_of(*size)
    assert min(size) < segmenter.network.smallest_side
    assert segmenter.predict(photo).labels.shape == size
    assert segmenter.cam(photo, classes).shape == (len(classes), *size)
    assert segmenter.pseudo_label(photo, classes).shape == size
    assert {labels.shape for labels in segmenter.stages(photo, classes).values()} == {size}
    affinity = segmenter.affinity(photo, (size[0] - 1, size[1] - 1))
    assert affinity.shape == segmenter.network.grid(*(max(side, 16) for side in size))


def test_maps_and_labels_are_those_of_the_network_itself(segmenter):
    photo = photo_of(48, 80)
    batch, views, _ = segmenter._batch(photo, ["dog"])
    with torch.inference_mode():
        images = normalize(batch.images)
        cam, _ = multi_scale_maps(segmenter.network, images, scales=segmenter.inference.cam_scales)
        output = segmenter.network(images)
        label = segmenter.label_maker.targets(segmenter.network, batch, images, output, step=10**9).pseudo_label
        affinity = output.affinity[0, 0].numpy()
        stages = segmenter.label_maker.stages(segmenter.network, batch, images, output)
    assert views.network is segmenter.network
    np.testing.assert_allclose(segmenter.cam(photo), resize(cam, (48, 80))[0].numpy(), atol=1e-5)
    assert (segmenter.pseudo_label(photo, ["dog"]) != label[0].numpy()).mean() < 0.002
    for name, labels in segmenter.stages(photo, ["dog"]).items():
        assert (labels != stages[name].labels[0].numpy()).mean() < 0.002
    np.testing.assert_allclose(segmenter.affinity(photo, (0, 0)).ravel(), affinity, atol=1e-5, rtol=1e-4)


def test_no_classes_have_no_maps(segmenter):
    found = segmenter.cam(photo_of(40, 50), classes=[])
    assert (found.shape, found.dtype) == ((0, 40, 50), np.float32)


def test_classes_may_be_any_iterable_of_names(segmenter):
    photo = photo_of(40, 50)
    wanted = segmenter.cam(photo, classes=["dog"])
    np.testing.assert_allclose(segmenter.cam(photo, classes=(name for name in ["dog"])), wanted)
    batch, _, _ = segmenter._batch(photo, iter(["dog"]))
    assert batch.image_labels.tolist() == [[0, 1]]
    for wrong, said in (("dog", "'dog'"), (iter(["dog", "cow"]), "cow")):
        with pytest.raises(UserError, match=f"need a list of classes of cat, dog; got {said}"):
            segmenter.pseudo_label(photo, classes=wrong)


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"got uint8 of \(0, 5, 3\)"),
        (Image.new("RGB", (0, 5)), "got an image of 0x5"),
    ],
)
def test_a_photo_without_pixels_is_refused(segmenter, photo, said):
    for act in (segmenter.predict, segmenter.cam):
        with pytest.raises(UserError, match=said):
            act(photo)


def test_an_image_that_pillow_cannot_decode_is_refused(segmenter):
    file = BytesIO()
    Image.fromarray(photo_of(40, 50)).save(file, format="PNG")
    closed = Image.new("RGB", (8, 8))
    closed.close()
    for image in (Image.open(BytesIO(file.getvalue()[:1000])), closed):
        with pytest.raises(UserError, match="need an image that can be decoded, got one that cannot"):
            segmenter.predict(image)


@pytest.mark.parametrize("max_side", [0, -1])
def test_a_photo_is_not_shrunk_to_nothing(segmenter, monkeypatch, max_side):
    monkeypatch.setattr(segmenter, "max_side", max_side)
    with pytest.raises(UserError, match=f"need max_side of at least 1, got {max_side}"):
        segmenter.predict(photo_of(40, 50))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("abacus", "need a device of auto, cpu, cuda or cuda:N, got 'abacus'"),
        ("meta", "need a device that torch .* can use, got meta; use device=auto"),
        ("mps", "need a device that torch .* can use, got mps; use device=auto"),
    ],
)
def test_devices_that_are_not_there_are_refused(name, said):
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(UserError, match=said) as refused:
        find_device(name)
    assert refused.value.arguments == ("device",)


def test_a_gpu_of_a_number_too_high_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    number = torch.cuda.device_count() + 7
    with pytest.raises(UserError, match=rf"need a device that torch .* can use, got cuda:{number}"):
        find_device(f"cuda:{number}")
    assert find_device("cpu") == torch.device("cpu")
