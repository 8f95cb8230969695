"""A backbone of one's own is tried on a small image: what it says of itself has to fit what it makes."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.models import Attention, Encoder, EncoderOutput, Grid, create_model


class Tiny(Encoder):
    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.widths, self.attention_channels, self.heads = (width, width), heads, heads
        self.fine = nn.Conv2d(3, width, 4, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.coarse = nn.Conv2d(width, width, 2, stride=2)
        self.compare = nn.Linear(width, 2 * width)

    def encode(self, images, *, attention):
        fine = self.norm(self.fine(images)).relu()
        coarse = self.coarse(fine).relu()
        queries, keys = self.compare(coarse.flatten(2).mT).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.made((fine, coarse), Attention(queries, keys) if attention else None)

    def made(self, features, attention):
        return EncoderOutput(features, attention)

    def grid(self, height, width):
        return Grid(height // 8, width // 8)

    def attention_inputs(self):
        return list(self.compare.parameters())

    @property
    def smallest_side(self):
        return 8


def changed(**methods):
    """A class like ``Tiny`` with other methods."""
    return type("Changed", (Tiny,), methods)


def with_attributes(**attributes):
    def start(self):
        Tiny.__init__(self)
        vars(self).update(attributes)

    return changed(__init__=start)


def made(change):
    return changed(made=lambda self, features, attention: change(features, attention))


def of_attention(change):
    return made(lambda features, attention: EncoderOutput(features, attention and Attention(*map(change, attention))))


class Rounding(Tiny):
    """Padded convolutions round up, also where sides are no multiples of the stride."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2, padding=1)


def test_a_grid_that_is_wrong_for_odd_sides_is_refused() -> None:
    with pytest.raises(UserError, match=r"need \(\d+, \d+\) from Rounding.grid\(133, 203\)"):
        create_model(Rounding, num_classes=2, decoder_width=8)


def test_an_encoder_that_is_made_already_is_refused() -> None:
    with pytest.raises(UserError, match=r"got one that is made already; give the class, or functools.partial\(Tiny, "):
        create_model(Tiny(), num_classes=2)


def test_one_that_fits_is_left_as_it_was() -> None:
    def start(self):
        Tiny.__init__(self)
        self.norm.eval()  # as of pretrained batch norms that are kept

    network = create_model(changed(__init__=start), num_classes=2, decoder_width=8)
    assert network.encoder.training
    assert network.encoder.coarse.training
    assert not network.encoder.norm.training
    assert network.encoder.norm.num_batches_tracked == 0
    assert network(torch.zeros(1, 3, 64, 96)).affinity.shape == (1, 96, 96)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (with_attributes(widths=8), "need a tuple of channels, one for each feature map, as Changed.widths, got 8"),
        (with_attributes(widths=(8, 16)), r"need a feature map of shape \(1, 16, h, w\) from Changed.encode"),
        (with_attributes(widths=(8, 8, 8)), "need 3 feature maps from Changed.encode, as many as widths, got 2"),
        (with_attributes(attention_channels=5), r"need queries of shape \(1, 5, 384, d\) .*, got \(1, 2, 384, 4\)"),
        (with_attributes(attention_channels=None), "need the number of heads that are read as"),
        (made(lambda features, _: EncoderOutput(features, None)), "need queries and keys from Changed.encode"),
        (made(lambda features, _: list(features)), "need an EncoderOutput from Changed.encode, got list"),
        (made(lambda features, _: features), "need an EncoderOutput from Changed.encode"),
        (
            made(lambda maps, found: EncoderOutput(tuple(map(channels_last, maps)), found)),
            r"got torch.float32 of shape \(1, 32, 48, 8\)",
        ),
        (made(lambda maps, found: EncoderOutput(maps[::-1], found)), r"need \(32, 48\) from Changed.grid\(128, 192\)"),
        (of_attention(lambda vectors: vectors[:, 0]), r"got \(1, 384, 4\)"),
        (of_attention(lambda vectors: vectors[:, :, 1:]), r"need queries .*by its attention_channels and grid, got"),
        (of_attention(torch.Tensor.detach), "need queries with gradient from Changed.encode, got some without"),
        (changed(grid=lambda self, height, width: Grid(height // 16, width // 16)), r"got \(8, 12\)"),
        (changed(grid=lambda self, height, width: Grid(width // 8, height // 8)), r"got \(24, 16\)"),
        (changed(grid=lambda self, height, width: Grid(height / 8, width / 8)), r"got \(16.0, 24.0\)"),
        (changed(attention_inputs=lambda self: [nn.Parameter(torch.ones(1))]), "need parameters of its own from"),
        (changed(smallest_side=lambda self: 8), "need a number of pixels as Changed.smallest_side, got method"),
        (changed(forward=lambda self, images: None), "need Changed.forward to take attention="),
        (changed(__init__=lambda self: None), r"need super\(\).__init__\(\) at the start of Changed.__init__"),
    ],
)
def test_what_does_not_fit_is_named(backbone, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        create_model(backbone, num_classes=2, decoder_width=8)
    assert error.value.arguments == ("backbone",)


def test_one_that_takes_other_sizes_alone_is_said_to_be_unchecked(caplog) -> None:
    def encode(self, images, *, attention):
        if images.shape[-1] != 224:
            raise ValueError("need 224")
        return Tiny.encode(self, images, attention=attention)

    with caplog.at_level(logging.WARNING):
        network = create_model(changed(encode=encode), num_classes=2, decoder_width=8)
    assert caplog.messages == ["Changed is not checked: it raised ValueError for an image of 128 x 192 pixels"]
    assert network(torch.zeros(1, 3, 224, 224)).cam.shape == (1, 2, 28, 28)


def channels_last(maps):
    return maps.permute(0, 2, 3, 1)
