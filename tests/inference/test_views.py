"""Shared passes against the plain functions, which run the network for every question."""

from __future__ import annotations

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.inference import Views, multi_scale_logits, multi_scale_maps
from afa_wsss.models import activation_passes, create_model
from afa_wsss.types import View, dense

SCALES = {
    "paper": ((0.5, 0.75, 1.0, 1.25, 1.5), (1.0, 0.5, 1.5)),
    "one": ((1.0,), (1.0,)),
    "apart": ((0.75,), (0.5, 1.25)),
    "twice": ((1.0, 1.0), (0.5, 1.0, 0.5)),
}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture
def images():
    return torch.randn(2, 3, 48, 64)


@pytest.fixture
def network():
    return create_model("mit_nano", num_classes=4, decoder_width=16).eval()


@pytest.fixture
def passed(network):
    """Every photo, as bytes, that passes the encoder."""
    found = []
    network.encoder.register_forward_pre_hook(
        lambda _, inputs: found.extend(one.numpy().tobytes() for one in inputs[0])
    )
    return found


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("scales", "cam_scales"), SCALES.values(), ids=SCALES.keys())
@torch.no_grad()
def test_answers_are_those_of_the_network(network, images, scales, cam_scales, mirror):
    classes = torch.tensor([[3, 1], [0, 2]])
    views = Views(network, images, scales=scales, mirror=mirror, cam_scales=cam_scales)
    expected = network(images)._replace(features=None)  # which no validation reads
    for found, wanted in zip(views.output(), expected, strict=True):
        torch.testing.assert_close(found, wanted, **CLOSE)
    logits = multi_scale_logits(network, images, scales=scales, mirror=mirror)
    torch.testing.assert_close(multi_scale_logits(views, images, scales=scales, mirror=mirror), logits, **CLOSE)
    cam, affinity = multi_scale_maps(network, images, scales=cam_scales, classes=classes)
    found, pairs = multi_scale_maps(views, images, scales=cam_scales, classes=classes)
    torch.testing.assert_close(found, cam, **CLOSE)
    torch.testing.assert_close(pairs.dense(), affinity.dense(), **CLOSE)


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("scales", "cam_scales"), SCALES.values(), ids=SCALES.keys())
def test_no_photo_passes_the_encoder_twice(network, images, passed, monkeypatch, scales, cam_scales, mirror, at_once):
    monkeypatch.setattr(activation_passes, "_PIXELS_PER_PASS", at_once * 48 * 64)
    views = Views(network, images, scales=scales, mirror=mirror, cam_scales=cam_scales)
    output = views.output()
    multi_scale_logits(views, images, scales=scales, mirror=mirror)
    multi_scale_maps(views, images, scales=cam_scales, known=output)
    views.class_logits(), views.shown()
    mirrored = {*cam_scales, *(scales if mirror else ())}
    assert len(set(passed)) == len(passed) == len(images) * (len({*scales, *cam_scales}) + len(mirrored))


@torch.no_grad()
def test_classes_and_what_is_shown_come_from_the_scale_of_the_prediction(network, images, passed):
    views = Views(network, images, scales=(1.5,), mirror=True, cam_scales=(1.5,))
    multi_scale_logits(views, images, scales=(1.5,), mirror=True)
    expected = network(torch.nn.functional.interpolate(images, (72, 96), mode="bilinear"))
    count = len(passed)
    torch.testing.assert_close(views.class_logits(), expected.class_logits, **CLOSE)
    cam, pairs = views.shown()
    torch.testing.assert_close(cam, expected.cam, **CLOSE)
    torch.testing.assert_close(pairs.dense(), expected.affinity, **CLOSE)
    assert len(passed) == count


@torch.no_grad()
def test_an_output_with_other_values_is_the_rest_as_it_was(network, images):
    output, other = Views(network, images).output(), torch.ones(2, 4)
    replaced = output._replace(class_logits=other)
    assert replaced.class_logits is other
    torch.testing.assert_close(replaced.affinity, network(images).affinity, **CLOSE)
    assert output._replace(affinity=replaced.pairs, cam=other).cam is other


def test_maps_alone_run_no_decoder(network, images, monkeypatch):
    views = Views(network, images, scales=(0.5,), cam_scales=(0.5, 1.5))
    multi_scale_logits(views, images, scales=(0.5,))
    monkeypatch.setattr(network.segmentation_head, "forward", lambda _: pytest.fail("the decoder ran"))
    multi_scale_maps(views, images, scales=(0.5, 1.5))


def test_logits_of_one_scale_at_a_time_are_kept(network, images):
    scales = (0.5, 1.0, 1.5)
    views = Views(network, images, scales=scales, mirror=True, cam_scales=scales)
    multi_scale_logits(views, images, scales=scales, mirror=True)
    kept = {key for key, seen in views._seen.items() if seen.seg_logits is not None}
    assert kept == {(1.0, False), (1.0, True)}
    assert {scale for (scale, _), seen in views._seen.items() if seen.affinity is not None} == {1.0, 1.5}


@torch.no_grad()
def test_what_no_plan_names_is_computed_when_it_is_asked_for(network, images, passed):
    views = Views(network, images)
    output = views.output()
    assert not passed
    assert output.class_logits.shape == (2, 4)
    assert len(passed) == 2
    for scale, affinity in ((1.0, True), (0.5, False), (0.5, True)):
        torch.testing.assert_close(views.maps(scale, affinity=affinity).mirrored, views.maps(scale, affinity=False)[1])
    torch.testing.assert_close(
        views.maps(0.5, affinity=True).affinity.dense(),
        Views(network, images).maps(0.5, affinity=True).affinity.dense(),
    )
    first, second = views.logits(0.5, mirror=True)
    torch.testing.assert_close(
        first, network.segment(torch.nn.functional.interpolate(images, (24, 32), mode="bilinear")), **CLOSE
    )
    assert first.shape == second.shape


@torch.no_grad()
def test_views_stand_for_the_network(network, images, passed):
    """A label maker may ask for other images than the photos, too."""
    views = Views(network, images, scales=(1.0,), cam_scales=(1.0,))
    views.class_logits()
    passed.clear()
    cam, pairs = views.activate(images, affinity=True, mirror=True)
    maps, none = views.activate(images)
    logits = views.segment(images)
    assert not passed, "all of it came with the classes"
    assert none is None
    wanted, affinity = network.activate(images, affinity=True, mirror=True)
    torch.testing.assert_close(cam, wanted, **CLOSE)
    torch.testing.assert_close(maps, wanted[:2], **CLOSE)
    torch.testing.assert_close(pairs.dense(), affinity.dense(), **CLOSE)
    torch.testing.assert_close(logits, network.segment(images), **CLOSE)
    others = images + 1
    torch.testing.assert_close(views.activate(others)[0], network.activate(others)[0])
    torch.testing.assert_close(views.segment(others), network.segment(others))
    torch.testing.assert_close(multi_scale_maps(views, others)[0], multi_scale_maps(network, others)[0])
    for asked in (images, others):
        torch.testing.assert_close(views(asked).class_logits, network(asked).class_logits, **CLOSE)
        torch.testing.assert_close(views(asked).seg_logits, network(asked).seg_logits, **CLOSE)
    assert views.grid(48, 64) == network.grid(48, 64)
    assert views.forward_activates()


def test_a_network_that_leaves_out_what_it_is_asked_for_is_refused(network, images, monkeypatch):
    monkeypatch.setattr(network, "view", lambda images, **_: View(images[:, :, 0, 0], images))
    with pytest.raises(UserError, match="need a network whose view"):
        tuple(Views(network, images).output())


@pytest.mark.parametrize("size", [(8, 70), (1, 1), (200, 3)])
@torch.no_grad()
def test_photos_that_are_too_narrow_are_enlarged(size):
    """As panoramas are, whose sides are shrunk together; at no scale a side is under what the network takes."""
    network = create_model("deit_tiny_patch16_224", num_classes=2, pretrained=None).eval()
    photos, sizes = torch.randn(1, 3, *size), []
    network.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    views = Views(network, photos, scales=(0.5, 1.0), mirror=True, cam_scales=(0.5, 1.25))
    logits = multi_scale_logits(views, photos, scales=(0.5, 1.0), mirror=True)
    cam, affinity = multi_scale_maps(views, photos, scales=(0.5, 1.25))
    assert logits.shape == (1, 3, *size)
    assert cam.shape == (1, 2, *size)
    assert logits.isfinite().all()
    assert cam.isfinite().all()
    rows, columns = views.grid(*(int(1.25 * side) for side in size))
    assert dense(affinity).shape == (1, rows * columns, rows * columns)
    assert set(sizes) == {tuple(max(16, int(scale * side)) for side in size) for scale in (0.5, 1.0, 1.25)}
