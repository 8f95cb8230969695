"""The oracle: true masks in place of pseudo labels."""

from __future__ import annotations

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.ops.affinity import affinity_labels
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, OracleLabels
from afa_wsss.types import Batch

SIDE = 64


@pytest.fixture(scope="module")
def network():
    return create_model("mit_nano", 3, decoder_width=8, drop_path_rate=0.0).eval()


def batch_with(masks):
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    boxes = torch.tensor([[0, SIDE, 0, SIDE], [8, SIDE - 2, 5, SIDE]])
    return Batch(images, torch.tensor([[1.0, 0, 1], [1, 0, 0]]), boxes, ("a", "b"), masks=masks, most_classes=2)


def targets_of(maker, network, batch):
    images = normalize(batch.images)
    return maker.targets(network, batch, images, network(images), step=0)


def test_targets_are_the_masks_inside_the_photos(network) -> None:
    masks = torch.randint(0, 4, (2, SIDE, SIDE), dtype=torch.uint8)
    masks[0, :5] = 255
    found = targets_of(OracleLabels(radius=2), network, batch_with(masks))
    expected = masks.clone()
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[8 : SIDE - 2, 5:] = False
    expected[1, outside] = 255
    assert torch.equal(found.pseudo_label, expected)
    assert found.pseudo_label.dtype == torch.uint8
    pairs = affinity_labels(expected, grid=network.grid(SIDE, SIDE), radius=2)
    assert torch.equal(found.affinity_label, pairs)
    assert {0, 1, 255} == set(pairs.unique().tolist())
    assert found.has("affinity_label")


def test_a_photo_without_a_mask_is_refused(network) -> None:
    with pytest.raises(UserError, match="need masks to take labels from, the photos have none"):
        targets_of(OracleLabels(), network, batch_with(None))


def test_there_are_no_stages(network) -> None:
    batch = batch_with(torch.zeros(2, SIDE, SIDE, dtype=torch.uint8))
    images = normalize(batch.images)
    assert OracleLabels().stages(network, batch, images, network(images)) == {}


def test_the_oracle_alone_needs_masks() -> None:
    assert OracleLabels.needs_masks
    assert not AFALabels.needs_masks


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"radius": 0}, "need radius of at least 1, or none, got 0"),
        ({"first_step": -1}, "need first_step of at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        OracleLabels(**wrong)
    assert error.value.arguments == tuple(wrong)
    assert OracleLabels(radius=None).radius is None
