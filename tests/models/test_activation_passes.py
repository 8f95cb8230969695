"""Passes of a few images at a time against one pass."""

from __future__ import annotations

import pytest
import torch
from tests.reference_network import reference_network

from afa_wsss.models import activation_passes


@pytest.mark.parametrize("at_once", [1, 4, 100])
@torch.no_grad()
def test_passes_of_a_few_images_give_the_same_as_one(monkeypatch, at_once):
    encoder, images = reference_network().encoder, torch.randn(6, 3, 48, 80)
    wanted = encoder(images)
    monkeypatch.setattr(activation_passes, "_PIXELS_PER_PASS", at_once * 48 * 80)
    found = activation_passes.encode_in_parts(encoder, images, attention=True)
    torch.testing.assert_close(found.features[-1], wanted.features[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.attention.logits(), wanted.attention.logits(), atol=1e-4, rtol=1e-5)
    assert activation_passes.encode_in_parts(encoder, images, attention=False).attention is None


def test_maps_of_such_passes_are_those_of_one(monkeypatch):
    model, images = reference_network(), torch.randn(3, 3, 48, 80)
    whole = model.activate(images, mirror=True, affinity=True)
    monkeypatch.setattr(activation_passes, "_PIXELS_PER_PASS", 4 * 48 * 80)  # passes of 4 and 2 images
    for found, wanted in zip(model.activate(images, mirror=True, affinity=True), whole, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
