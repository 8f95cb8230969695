from __future__ import annotations

import pytest
import torch
from tests.reference_network import reference_network

from afa_wsss.inference import multi_scale_cam, multi_scale_logits
from afa_wsss.models import create_model
from afa_wsss.types import UserError


def test_maps_equal_the_official_ones(golden) -> None:
    data = {name: torch.from_numpy(value) for name, value in golden("network_mit_b0").items()}
    cam, affinity = multi_scale_cam(reference_network(), data["image0"], scales=(1.0, 0.5, 1.5))
    torch.testing.assert_close(cam, data["multi_scale_cam0"], atol=1e-4, rtol=0)
    torch.testing.assert_close(affinity, data["multi_scale_affinity0"], atol=1e-4, rtol=0)


def test_maps_of_odd_sizes_mirror_with_the_photo() -> None:
    images = torch.randn(2, 3, 75, 93)
    cam, affinity = multi_scale_cam(reference_network(), images, scales=(1.0, 1.5))
    assert cam.shape == (2, 20, 75, 93)
    assert affinity.shape == (2, 63, 63)
    assert 0 <= cam.min() <= cam.max() <= 1
    mirrored, _ = multi_scale_cam(reference_network(), images.flip(-1), scales=(1.0, 1.5))
    torch.testing.assert_close(mirrored.flip(-1), cam, atol=1e-4, rtol=0)


class _Counting:
    """Gives as maps the photo's first channel, as affinity the photo's height; notes what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def activate(self, images, *, affinity=False):
        self.asked.append((images.shape[-2], affinity))
        pairs = torch.full((images.shape[0], 1, 1), float(images.shape[-2])) if affinity else None
        return images[:, :1], pairs


def test_the_affinity_is_asked_for_once_at_the_largest_scale() -> None:
    model = _Counting()
    _, affinity = multi_scale_cam(model, torch.randn(1, 3, 8, 8), scales=(1.0, 2.0, 0.5))
    assert model.asked == [(8, False), (8, False), (16, True), (16, False), (4, False), (4, False)]
    assert affinity.item() == 16


def test_maps_are_the_relu_of_the_larger_of_photo_and_mirror() -> None:
    images = torch.tensor([[-1.0, 2.0, 0.0, -3.0]]).expand(1, 3, 2, 4)
    cam, _ = multi_scale_cam(_Counting(), images, scales=(1.0,))
    torch.testing.assert_close(cam[0, 0, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]), atol=1e-4, rtol=0)


def test_maps_under_bf16_are_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        cam, affinity = multi_scale_cam(create_model("mit_nano", 2), torch.randn(1, 3, 64, 64))
    assert cam.dtype == affinity.dtype == torch.float32


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0, 1.0)])
@pytest.mark.parametrize("run", [multi_scale_cam, multi_scale_logits])
def test_impossible_scales_are_refused(run, scales) -> None:
    with pytest.raises(UserError, match="need scales above 0"):
        run(create_model("mit_nano", 2), torch.randn(1, 3, 64, 64), scales=scales)


@torch.no_grad()
def test_logits_are_the_maximum_over_mirror_and_scales() -> None:
    network = create_model("mit_nano", 2).eval()
    images = torch.randn(1, 3, 64, 80)
    plain = multi_scale_logits(network, images)
    assert plain.shape == (1, 3, 64, 80)
    both = multi_scale_logits(network, images, mirror=True)
    assert (both >= plain).all()
    assert (multi_scale_logits(network, images, scales=(0.5, 1.0)) >= plain).all()
    torch.testing.assert_close(
        both, multi_scale_logits(network, images.flip(-1), mirror=True).flip(-1), atol=1e-5, rtol=1e-5
    )
