from __future__ import annotations

import pytest
import torch
from tests.reference_network import reference_network

from afa_wsss.errors import UserError
from afa_wsss.inference import InferenceSettings, multi_scale_cam, multi_scale_logits
from afa_wsss.inference.views import Views
from afa_wsss.models import create_model
from afa_wsss.types import AFAOutput


def test_maps_equal_the_official_ones(golden) -> None:
    data = {name: torch.from_numpy(value) for name, value in golden("network_mit_b0").items()}
    cam, affinity = multi_scale_cam(reference_network(), data["image0"], scales=(1.0, 0.5, 1.5))
    torch.testing.assert_close(cam, data["multi_scale_cam0"], atol=1e-4, rtol=0)
    torch.testing.assert_close(affinity, data["multi_scale_affinity0"], atol=1e-4, rtol=0)


def test_maps_of_odd_sizes_of_a_mirrored_photo_are_mirrored() -> None:
    images = torch.randn(2, 3, 75, 93)
    cam, affinity = multi_scale_cam(reference_network(), images, scales=(1.0, 1.5))
    assert cam.shape == (2, 20, 75, 93)
    assert affinity.shape == (2, 63, 63)
    assert 0 <= cam.min() <= cam.max() <= 1
    mirrored, _ = multi_scale_cam(reference_network(), images.flip(-1), scales=(1.0, 1.5))
    torch.testing.assert_close(mirrored.flip(-1), cam, atol=1e-4, rtol=0)


class _Recording:
    """A network whose maps are the first channel and whose affinity is the height; records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool, bool]] = []

    def activate(self, images, *, affinity=False, mirror=False):
        self.calls.append((images.shape[-2], affinity, mirror))
        pairs = torch.full((images.shape[0], 1, 1), float(images.shape[-2])) if affinity else None
        maps = torch.cat([images, images.flip(-1)]) if mirror else images
        return maps[:, :1], pairs


def test_the_affinity_is_computed_once_at_the_largest_scale() -> None:
    model = _Recording()
    _, affinity = multi_scale_cam(model, torch.randn(1, 3, 8, 8), scales=(1.0, 2.0, 0.5))
    assert model.calls == [(8, False, True), (16, True, True), (4, False, True)]
    assert affinity.item() == 16


@pytest.mark.parametrize("scales", [(1.0, 0.5, 1.5), (0.5, 1.0), (1.0,)])
def test_a_known_output_is_reused(scales) -> None:
    network, images = reference_network(), torch.randn(2, 3, 64, 80)
    cam, affinity = multi_scale_cam(network, images, scales=scales)
    found, pairs = multi_scale_cam(network, images, scales=scales, known=network(images))
    torch.testing.assert_close(found, cam, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pairs, affinity, atol=1e-5, rtol=1e-5)
    model, output = _Recording(), AFAOutput(images[:, 0, 0, :2], images, torch.rand(2, 1, 1), images[:, :1])
    multi_scale_cam(model, images, scales=scales, known=output)
    assert (64, False, False) in model.calls
    assert len(model.calls) == len(scales)


def test_maps_of_chosen_classes() -> None:
    network, images, classes = reference_network(), torch.randn(2, 3, 64, 80), torch.tensor([[3, 7], [0, 19]])
    every, _ = multi_scale_cam(network, images)
    chosen, _ = multi_scale_cam(network, images, classes=classes)
    torch.testing.assert_close(chosen, torch.stack([every[row, picks] for row, picks in enumerate(classes)]))


def test_maps_are_the_relu_of_the_larger_of_photo_and_mirror() -> None:
    images = torch.tensor([[-1.0, 2.0, 0.0, -3.0]]).expand(1, 3, 2, 4)
    cam, _ = multi_scale_cam(_Recording(), images, scales=(1.0,))
    torch.testing.assert_close(cam[0, 0, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]), atol=1e-4, rtol=0)


def test_maps_under_bf16_are_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        cam, affinity = multi_scale_cam(create_model("mit_nano", 2), torch.randn(1, 3, 64, 64))
    assert cam.dtype == affinity.dtype == torch.float32


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0, 1.0)])
@pytest.mark.parametrize("run", [multi_scale_cam, multi_scale_logits])
def test_scales_that_are_not_above_0_are_refused(run, scales) -> None:
    with pytest.raises(UserError, match="need scales above 0") as raised:
        run(create_model("mit_nano", 2), torch.randn(1, 3, 64, 64), scales=scales)
    assert raised.value.arguments == ("scales",)


@pytest.mark.parametrize("name", ["cam_scales", "scales"])
def test_settings_refuse_such_scales(name) -> None:
    with pytest.raises(UserError, match="need scales above 0") as raised:
        InferenceSettings(**{name: (0.0,)})
    assert raised.value.arguments == (name,)


@torch.no_grad()
def test_logits_are_the_maximum_over_mirror_and_scales() -> None:
    network = create_model("mit_nano", 2).eval()
    images = torch.randn(1, 3, 64, 80)
    plain = multi_scale_logits(network, images)
    for mirror in (False, True):
        known = multi_scale_logits(network, images, scales=(0.5, 1.0), mirror=mirror, known=network(images))
        fresh = multi_scale_logits(network, images, scales=(0.5, 1.0), mirror=mirror)
        torch.testing.assert_close(known, fresh, atol=1e-5, rtol=1e-5)
    assert plain.shape == (1, 3, 64, 80)
    both = multi_scale_logits(network, images, mirror=True)
    assert (both >= plain - 1e-5).all()  # a larger batch changes the order of summation
    assert (multi_scale_logits(network, images, scales=(0.5, 1.0)) >= plain - 1e-5).all()
    torch.testing.assert_close(
        both, multi_scale_logits(network, images.flip(-1), mirror=True).flip(-1), atol=1e-5, rtol=1e-5
    )


def test_views_of_small_images_are_as_large_as_the_network_needs() -> None:
    network = create_model("mit_b0", num_classes=2, decoder_width=8).eval()
    images = torch.randn(1, 3, 48, 48)
    for scale in (0.5, 1.0):
        views = Views(network, images, cam_scales=(scale,))
        torch.testing.assert_close(
            multi_scale_cam(network, images, scales=(scale,))[0], multi_scale_cam(views, images, scales=(scale,))[0]
        )
