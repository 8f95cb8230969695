from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.oracles import lattice as oracle
from tests.photos import plain_photo, smooth_photo, speckled_photo

from afa_wsss.errors import UserError
from afa_wsss.ops.bilateral import (
    bilateral_features,
    bilateral_filter,
    bilateral_lattice,
    filter_maps,
    position_features,
    position_lattice,
)
from afa_wsss.ops.permutohedral import lattice_filter, permutohedral_lattice


def smooth_maps(height, width, count=3):
    """Probabilities that vary slowly over the image."""
    coarse = torch.rand(1, count, 5, 5).mul(6).softmax(dim=1)
    return F.interpolate(coarse, size=(height, width), mode="bilinear")


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_equals_the_lattice_one_corner_at_a_time(d) -> None:
    features, values = torch.rand(1, 60, d, dtype=torch.float64) * 4, torch.rand(60, 2, dtype=torch.float64)
    expected = oracle.lattice_sums(features[0].numpy(), values.numpy())
    found = lattice_filter(permutohedral_lattice(features), values)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    single = lattice_filter(permutohedral_lattice(features.float()), values)
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-4)


def test_equals_the_lattice_one_corner_at_a_time_on_a_photo() -> None:
    photo, maps = speckled_photo(12, 9), smooth_maps(12, 9)
    features = bilateral_features(photo.double(), sigma_rgb=30.0, sigma_xy=4.0)[0].numpy()
    expected = oracle.lattice_sums(features, maps[0].flatten(1).T.double().numpy())
    found = bilateral_filter(photo, maps, sigma_rgb=30.0, sigma_xy=4.0)[0].flatten(1).T
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("photo", [plain_photo, smooth_photo, speckled_photo])
def test_equals_pydensecrf_without_its_normalization(photo) -> None:
    """A mean field step between two classes adds weight * K (q0 - q1) to the difference of their logits."""
    densecrf = pytest.importorskip(
        "pydensecrf.densecrf", reason="pydensecrf2 is not installed: pip install afa-wsss[crf-oracle]"
    )
    image, difference, weight = photo(40, 48), torch.randn(40, 48), 0.003
    unary = torch.stack([-difference, torch.zeros_like(difference)]).flatten(1)
    crf = densecrf.DenseCRF2D(48, 40, 2)
    crf.setUnaryEnergy(unary.numpy())
    colors = image[0].permute(1, 2, 0).contiguous().numpy()
    crf.addPairwiseBilateral(sxy=20, srgb=15, rgbim=colors, compat=weight, normalization=densecrf.NO_NORMALIZATION)
    first, second = torch.from_numpy(np.array(crf.inference(1))).double().view(2, 40, 48)
    expected = ((first / second).log() - difference) / weight
    start = difference.sigmoid() * 2 - 1
    found = bilateral_filter(image, start[None, None], sigma_rgb=15.0, sigma_xy=20.0)[0, 0].double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("photo", [plain_photo, smooth_photo, speckled_photo])
@pytest.mark.parametrize(("sigma_rgb", "sigma_xy"), [(15.0, 50.0), (15.0, 12.0), (40.0, 20.0)])
def test_is_the_gaussian_sum_within_the_error_of_the_lattice(photo, sigma_rgb, sigma_xy) -> None:
    """Sums are 0.45 to 0.6 of the Gaussian's; after one factor for all, within 10 %, averages within 0.015."""
    image, maps = photo(40, 48), torch.cat([smooth_maps(40, 48), torch.ones(1, 1, 40, 48)], dim=1)
    features = bilateral_features(image.double(), sigma_rgb=sigma_rgb, sigma_xy=sigma_xy)[0].numpy()
    exact = oracle.gaussian_sums(features, maps[0].flatten(1).T.double().numpy())
    found = bilateral_filter(image, maps, sigma_rgb=sigma_rgb, sigma_xy=sigma_xy)[0].flatten(1).T.double().numpy()
    share = (found * exact).sum() / (exact * exact).sum()
    assert 0.45 < share < 0.6
    assert np.linalg.norm(found / share - exact) < 0.1 * np.linalg.norm(exact)
    averages = found[:, :-1] / found[:, -1:] - exact[:, :-1] / exact[:, -1:]
    assert np.sqrt((averages**2).mean()) < 0.015


@pytest.mark.parametrize("sigma_xy", [3.0, 10.0])
def test_in_the_plane_sums_are_right_up_to_a_factor(sigma_xy) -> None:
    features, maps = position_features(plain_photo(40, 48).double(), sigma_xy=sigma_xy), smooth_maps(40, 48)
    values = maps[0].flatten(1).T.double()
    exact = oracle.gaussian_sums(features[0].numpy(), values.numpy())
    found = lattice_filter(permutohedral_lattice(features), values).numpy()
    share = (found * exact).sum() / (exact * exact).sum()
    assert share == pytest.approx(0.88, abs=0.02)
    assert np.linalg.norm(found / share - exact) < 0.03 * np.linalg.norm(exact)


def test_no_value_crosses_a_strong_edge() -> None:
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    image[..., 8:] = 200
    maps = torch.zeros(1, 1, 16, 16)
    maps[..., :8] = 1
    filtered = bilateral_filter(image, maps, sigma_rgb=15.0, sigma_xy=50.0)
    assert (filtered[..., :8] > 10).all()
    assert (filtered[..., 8:] == 0).all()


def test_is_linear_and_filters_each_image_of_a_batch_alone() -> None:
    images = torch.cat([speckled_photo(14, 11), smooth_photo(14, 11), speckled_photo(14, 11)])
    one, other = torch.rand(3, 2, 14, 11), torch.rand(3, 2, 14, 11)
    lattice = bilateral_lattice(images, sigma_rgb=15.0, sigma_xy=20.0)
    torch.testing.assert_close(
        filter_maps(lattice, 2 * one + other), 2 * filter_maps(lattice, one) + filter_maps(lattice, other)
    )
    alone = [bilateral_filter(images[i : i + 1], one[i : i + 1], sigma_rgb=15.0, sigma_xy=20.0) for i in range(3)]
    torch.testing.assert_close(filter_maps(lattice, one), torch.cat(alone))


def test_the_adjoint_is_the_transpose() -> None:
    lattice = bilateral_lattice(speckled_photo(8, 9).double(), sigma_rgb=20.0, sigma_xy=5.0)
    matrix = lattice.times(torch.eye(72, dtype=torch.float64))
    torch.testing.assert_close(lattice.adjoint().times(torch.eye(72, dtype=torch.float64)), matrix.T)
    assert not torch.equal(matrix, matrix.T)  # with gaps in the lattice the order of the axes matters


@pytest.mark.filterwarnings("error")
def test_gradients_of_both_orders() -> None:
    image, maps = speckled_photo(5, 4).double(), torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)

    def filtered(maps):
        return bilateral_filter(image, maps, sigma_rgb=20.0, sigma_xy=5.0).square()

    assert torch.autograd.gradcheck(filtered, (maps,))
    assert torch.autograd.gradgradcheck(filtered, (maps,))


def test_stays_float32_for_half_precision_and_under_autocast() -> None:
    image, maps = speckled_photo(9, 9), torch.rand(1, 2, 9, 9).bfloat16()
    exact = bilateral_filter(image, maps.float(), sigma_rgb=15.0, sigma_xy=20.0)
    assert torch.equal(bilateral_filter(image, maps, sigma_rgb=15.0, sigma_xy=20.0), exact)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bilateral_filter(image, maps.float(), sigma_rgb=15.0, sigma_xy=20.0), exact)


def test_equal_points_add_up() -> None:
    lattice = position_lattice(plain_photo(1, 1), sigma_xy=3.0)
    alone = lattice_filter(lattice, torch.ones(1, 1))
    many = lattice_filter(permutohedral_lattice(torch.zeros(1, 7, 2)), torch.ones(7, 1))
    torch.testing.assert_close(many, 7 * alone.expand(7, 1))


@pytest.mark.parametrize("sigmas", [{"sigma_rgb": 0.0, "sigma_xy": 5.0}, {"sigma_rgb": 5.0, "sigma_xy": -1.0}])
def test_widths_have_to_be_above_zero(sigmas) -> None:
    with pytest.raises(UserError, match=r"need sigma_.* above 0, got"):
        bilateral_filter(plain_photo(3, 3), torch.rand(1, 1, 3, 3), **sigmas)


@pytest.mark.parametrize("worst", [1e30, float("inf"), float("nan")])
def test_features_with_too_large_a_range_are_refused(worst) -> None:
    with pytest.raises(UserError, match="give a larger sigma"):
        permutohedral_lattice(torch.tensor([[[0.0, 0.0], [worst, worst]]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_is_the_same_on_a_gpu() -> None:
    images, maps = torch.cat([speckled_photo(40, 30), smooth_photo(40, 30)]), torch.rand(2, 21, 40, 30)
    expected = bilateral_filter(images, maps, sigma_rgb=15.0, sigma_xy=50.0)
    found = bilateral_filter(images.cuda(), maps.cuda(), sigma_rgb=15.0, sigma_xy=50.0)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_compiles(dynamo) -> None:
    image, maps = torch.randint(0, 256, (1, 3, 6, 6), dtype=torch.uint8), torch.rand(1, 2, 6, 6)
    filtered = partial(bilateral_filter, sigma_rgb=15.0, sigma_xy=9.0)
    compiled = torch.compile(filtered, backend="eager")
    torch.testing.assert_close(compiled(image, maps), filtered(image, maps))
    maps.requires_grad_()
    compiled(image, maps).sum().backward()
    assert maps.grad.isfinite().all()
    assert dynamo["unique_graphs"] > 0
