"""``color_split`` against pixel loops, and its ends: no split, and two plain colors."""

from __future__ import annotations

import pytest
import torch
from tests.oracles import color_split as oracle

from afa_wsss.ops.color_split import color_split, trend_fields


@pytest.fixture
def case():
    draw = torch.Generator().manual_seed(0)
    photos = torch.rand(3, 3, 7, 9, generator=draw)
    foreground = torch.rand(3, 4, 7, 9, generator=draw) < torch.tensor([0.1, 0.4, 0.7, 0.95]).view(1, 4, 1, 1)
    inside = torch.ones(3, 7, 9, dtype=torch.bool)
    inside[1, :, 5:] = False
    inside[2] = False
    return photos, foreground, inside


def test_equals_the_loops(case):
    photos, foreground, inside = case
    found = color_split(photos, foreground, inside)
    for image in range(3):
        for split in range(4):
            expected = oracle.color_split(photos[image].numpy(), foreground[image, split], inside[image])
            assert found[image, split].item() == pytest.approx(expected, abs=1e-5)


def test_the_padding_does_not_count(case):
    photos, foreground, inside = case
    painted = torch.where(inside[:, None], photos, torch.tensor(1.0))
    torch.testing.assert_close(color_split(painted, foreground, inside), color_split(photos, foreground, inside))


def test_two_plain_colors_are_split_wholly_and_one_part_alone_not_at_all():
    photo, square = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    square[:, 1, 2:6, 2:6] = True  # a quarter of the photo
    square[:, 2] = True
    photo[:, :, 2:6, 2:6] = torch.tensor([0.9, 0.2, 0.4]).view(1, 3, 1, 1)
    found = color_split(photo, square, torch.ones(1, 8, 8, dtype=torch.bool))
    assert found[0].tolist() == pytest.approx([0, 0.75**0.5, 0], abs=1e-4)


def test_a_photo_of_one_color_has_no_split():
    photo = torch.full((1, 3, 8, 8), 0.7)
    foreground = torch.rand(1, 2, 8, 8) > 0.5
    assert color_split(photo, foreground, torch.ones(1, 8, 8, dtype=torch.bool)).tolist() == [[0, 0]]


def test_the_split_does_not_depend_on_brightness_and_contrast(case):
    photos, foreground, inside = case
    torch.testing.assert_close(
        color_split(0.2 + 0.5 * photos, foreground, inside), color_split(photos, foreground, inside)
    )


def test_smooth_light_is_no_split(case):
    """The same splits are found with a surface of second degree added to the photo, and it alone has none."""
    photos, foreground, inside = case
    x, y = torch.linspace(0, 1, 9), torch.linspace(0, 1, 7)[:, None]
    slope = x - 0.4 * y + 0.8 * x * y - 1.2 * x.square() + 0.5 * y.square()
    light = torch.tensor([0.5, 1.0, -0.3]).view(3, 1, 1) * slope
    expected = color_split(photos, foreground, inside)
    torch.testing.assert_close(color_split(photos + light, foreground, inside), expected, atol=1e-5, rtol=1e-4)
    alone = color_split(light.expand(3, 3, 7, 9), foreground, inside)
    torch.testing.assert_close(alone, torch.zeros(3, 4))


def test_an_object_at_the_side_keeps_its_split():
    """Half of what tells it from the rest looks like a trend; its step is found all the same."""
    foreground = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    foreground[..., :8] = True
    noise = 0.2 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(1, 16, 16, dtype=torch.bool)
    assert color_split(noise + foreground, foreground, inside).item() == pytest.approx(0.5**0.5)
    assert color_split(noise, foreground, inside).item() < 0.1


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_photos_of_one_row_have_a_split_too(shape):
    photos = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    foreground, inside = photos[:, :1] > 0.5, torch.ones(1, *shape, dtype=torch.bool)
    expected = oracle.color_split(photos[0].numpy(), foreground[0, 0], inside[0])
    assert color_split(photos, foreground, inside).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    """Sums over a crop of 512 are beyond what half precision holds."""
    photos = 0.9 - 0.3 * torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    foreground = torch.zeros(1, 1, 512, 512, dtype=torch.bool)
    foreground[..., :256] = True
    inside = torch.ones(1, 512, 512, dtype=torch.bool)
    with torch.autocast("cpu", dtype=dtype):
        found = color_split(photos, foreground, inside)
    assert torch.equal(found, color_split(photos, foreground, inside))


@pytest.mark.parametrize(("rows", "columns"), [(7, 9), (7, 2), (1, 9), (1, 1)])
def test_trends_are_orthonormal_and_span_the_second_degree(rows, columns):
    inside = torch.zeros(1, 12, 40, dtype=torch.bool)
    inside[:, :rows, 40 - columns :] = True
    fields = trend_fields(inside)[0].flatten(1)
    there = fields.square().sum(1) > 0.5
    torch.testing.assert_close(fields @ fields.T, torch.diag(there.float()), atol=1e-5, rtol=0)
    assert there.sum() == min(columns, 3) + min(rows, 3) - 1 + (min(rows, columns) > 1)
    place = torch.linspace(-1, 1, 40) * torch.linspace(-1, 1, 12)[:, None]
    wanted = torch.where(inside[0], (0.3 + place).flatten().view(12, 40), 0).flatten()
    torch.testing.assert_close((fields @ wanted) @ fields, wanted, atol=1e-5, rtol=0)
