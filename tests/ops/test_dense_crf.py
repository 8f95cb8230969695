from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.oracles import agreement
from tests.photos import plain_photo, smooth_photo, speckled_photo

from afa_wsss.errors import UserError
from afa_wsss.ops.dense_crf import dense_crf

PHOTOS = ("2007_000727", "2007_001774", "2007_002412")
"""Three of the sample photos: one tall, one wide, one full of detail."""


def reference(image, probabilities, steps=10):
    """pydensecrf's result for a uint8 (3, H, W) image and (c, H, W) probabilities, with the same constants."""
    densecrf = pytest.importorskip(
        "pydensecrf.densecrf", reason="pydensecrf2 is not installed: pip install afa-wsss[crf-oracle]"
    )
    count, height, width = probabilities.shape
    crf = densecrf.DenseCRF2D(width, height, count)
    unary = -np.log(np.clip(probabilities, 1e-5, 1)).reshape(count, -1)
    crf.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    colors = np.ascontiguousarray(image.transpose(1, 2, 0))
    crf.addPairwiseBilateral(sxy=64, srgb=5, rgbim=colors, compat=4)
    return np.array(crf.inference(steps)).reshape(count, height, width)


def softened(mask, count=21, sure=0.7):
    """Probabilities (1, count, H, W) whose argmax is the mask (H, W); ignored pixels are background."""
    labels = torch.from_numpy(np.where(mask == 255, 0, mask)).long()
    chosen = torch.nn.functional.one_hot(labels, count).permute(2, 0, 1)[None].float()
    return chosen * sure + (1 - sure) / count


def noisy_probabilities(height, width, count=3, batch=1):
    return torch.randn(batch, count, height, width).softmax(dim=1)


@pytest.mark.parametrize("photo", [smooth_photo, speckled_photo])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_equals_mean_field_with_all_pairs(photo, steps) -> None:
    image, scores = photo(10, 12), noisy_probabilities(10, 12)
    near = agreement.pairs(agreement.pixel_features(image[0].numpy(), sigma_xy=3.0))
    alike = agreement.pairs(agreement.pixel_features(image[0].numpy(), sigma_xy=64.0, sigma_rgb=5.0))
    expected = agreement.mean_field(scores[0].flatten(1).double().numpy(), [(3, near), (4, alike)], steps)
    found = dense_crf(image, scores, steps=steps)[0].flatten(1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("photo", [plain_photo, smooth_photo, speckled_photo])
def test_equals_pydensecrf(photo) -> None:
    image, scores = photo(60, 80), noisy_probabilities(60, 80, count=5)
    found = dense_crf(image, scores)[0].numpy()
    np.testing.assert_allclose(found, reference(image[0].numpy(), scores[0].numpy()), atol=2e-3)


@pytest.mark.data
@pytest.mark.parametrize("name", PHOTOS)
def test_equals_pydensecrf_on_photos(voc_mini, name) -> None:
    photo = np.array(Image.open(voc_mini / "JPEGImages" / f"{name}.jpg").convert("RGB")).transpose(2, 0, 1)
    scores = softened(np.array(Image.open(voc_mini / "SegmentationClass" / f"{name}.png")))
    found = dense_crf(torch.from_numpy(photo.copy())[None], scores)[0].argmax(dim=0).numpy()
    expected = reference(photo, scores[0].numpy()).argmax(axis=0)
    assert (found == expected).mean() >= 0.999


def test_is_a_distribution_and_draws_labels_to_the_edge() -> None:
    image = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
    image[..., 12:] = 220
    scores = torch.full((1, 2, 24, 24), 0.5)
    scores[:, 0, :, :8], scores[:, 1, :, :8] = 0.8, 0.2
    scores[:, 0, :, 16:], scores[:, 1, :, 16:] = 0.2, 0.8
    found = dense_crf(image, scores)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 24, 24))
    assert (found[:, 0, :, :12] > 0.5).all()
    assert (found[:, 1, :, 12:] > 0.5).all()


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    images, scores = torch.cat([smooth_photo(15, 12), speckled_photo(15, 12)]), noisy_probabilities(15, 12, batch=2)
    alone = [dense_crf(images[i : i + 1], scores[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(dense_crf(images, scores), torch.cat(alone))


def test_without_kernels_or_steps_the_probabilities_come_back() -> None:
    image, scores = speckled_photo(6, 7), noisy_probabilities(6, 7)
    torch.testing.assert_close(dense_crf(image, scores, steps=0), scores)
    torch.testing.assert_close(dense_crf(image, scores, position_weight=0.0, bilateral_weight=0.0), scores)


def test_does_not_change_its_arguments() -> None:
    image, scores = speckled_photo(6, 7), noisy_probabilities(6, 7).to(memory_format=torch.channels_last)
    before = scores.clone()
    dense_crf(image, scores)
    assert torch.equal(scores, before)


def test_runs_in_float32_for_half_precision_and_under_autocast() -> None:
    image, scores = speckled_photo(9, 9), noisy_probabilities(9, 9).bfloat16()
    exact = dense_crf(image, scores.float())
    assert torch.equal(dense_crf(image, scores), exact)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(dense_crf(image, scores), exact)


@pytest.mark.parametrize(
    ("image", "settings", "message", "arguments"),
    [
        (torch.rand(1, 3, 4, 4), {}, r"need a uint8 image .* got torch\.float32", ("image",)),
        (plain_photo(4, 5), {}, r"of the probabilities' size, got .*\(1, 3, 4, 5\)", ("image",)),
        (plain_photo(4, 4), {"steps": -1}, "need steps of at least 0, got -1", ("steps",)),
        (plain_photo(4, 4), {"position_weight": -1.0}, "of at least 0, got -1.0", ("position_weight",)),
        (plain_photo(4, 4), {"bilateral_sigma_xy": 0.0}, "above 0, got 0.0", ("bilateral_sigma_xy",)),
        (plain_photo(4, 4), {"position_sigma": -2.0}, "above 0, got -2.0", ("position_sigma",)),
    ],
)
def test_wrong_arguments_are_named(image, settings, message, arguments) -> None:
    with pytest.raises(UserError, match=message) as raised:
        dense_crf(image, noisy_probabilities(4, 4), **settings)
    assert raised.value.arguments == arguments


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_is_the_same_on_a_gpu() -> None:
    images, scores = torch.cat([speckled_photo(40, 30), smooth_photo(40, 30)]), noisy_probabilities(40, 30, 21, 2)
    found = dense_crf(images.cuda(), scores.cuda()).cpu()
    assert (found.argmax(dim=1) == dense_crf(images, scores).argmax(dim=1)).float().mean() >= 0.995
