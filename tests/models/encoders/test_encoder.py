"""The base class of backbones: one derived outside the package, and the layout of tokens on their grid."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.inference import multi_scale_cam
from afa_wsss.models import Attention, Encoder, EncoderOutput, Grid, ModelSettings, build_model, create_model
from afa_wsss.models.encoders.encoder import to_map, to_tokens


class OwnEncoder(Encoder):
    """Two convolutions and one comparison of tokens: all that a backbone has to have."""

    def __init__(self, width=16, heads=2, drop_path_rate=0.0):
        super().__init__()
        self.widths, self.attention_channels, self.heads = (width, width), heads, heads
        self.drop_path_rate = drop_path_rate
        self.fine = nn.Conv2d(3, width, 4, stride=4)
        self.coarse = nn.Conv2d(width, width, 2, stride=2)
        self.norm = nn.LayerNorm(width)
        self.query_key = nn.Linear(width, 2 * width)

    def encode(self, images, *, attention):
        fine = self.fine(images).relu()
        coarse = self.coarse(fine).relu()
        vectors = self.query_key(self.norm(to_tokens(coarse))).unflatten(2, (2, self.heads, -1))
        queries, keys = vectors.permute(2, 0, 3, 1, 4)
        return EncoderOutput((fine, coarse), Attention(queries, keys) if attention else None)

    def grid(self, height, width):
        return Grid(height // 8, width // 8)

    def attention_inputs(self):
        return list(self.query_key.parameters())


def test_a_backbone_of_ones_own_makes_maps_and_learns():
    network = create_model(OwnEncoder, 3, decoder_width=8)
    images = torch.randn(2, 3, 64, 96)
    output = network(images)
    assert output.affinity.shape == (2, 96, 96)
    assert output.seg_logits.shape == (2, 4, 16, 24)
    cam, affinity = multi_scale_cam(network, images, scales=(1.0, 0.5))
    assert (cam.shape, affinity.shape) == ((2, 3, 64, 96), (2, 96, 96))
    sum(part.float().square().mean() for part in output[:3]).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.encoder.parameters())


def test_a_backbone_of_ones_own_needs_no_more_than_its_three_methods():
    encoder = OwnEncoder()
    assert [id(parameter) for parameter in encoder.norms()] == [id(encoder.norm.weight), id(encoder.norm.bias)]
    assert (encoder.smallest_side, encoder.default_weights, encoder.new_parameters()) == (1, None, [])
    assert encoder.from_file({"weight": torch.zeros(1)}) is None
    with pytest.raises(TypeError, match="abstract method"):
        Encoder()


def test_training_mode_is_taken_to_act_unless_a_backbone_says_otherwise():
    network = create_model(OwnEncoder, 3, decoder_width=8)
    assert not network.forward_activates()
    network.encoder.eval()
    assert network.forward_activates()
    network.encoder.norm.train()  # one part is enough
    assert not network.forward_activates()


def test_settings_are_bound_and_win_over_the_drop_path_rate_of_the_network():
    assert create_model(OwnEncoder, 3, drop_path_rate=0.2).encoder.drop_path_rate == 0.2
    bound = functools.partial(OwnEncoder, width=24, drop_path_rate=0.3)
    encoder = create_model(bound, 3, drop_path_rate=0.2).encoder
    assert (encoder.widths, encoder.drop_path_rate) == ((24, 24), 0.3)
    without = create_model(lambda: OwnEncoder(width=8), 3, drop_path_rate=0.2).encoder
    assert (without.widths, without.drop_path_rate) == ((8, 8), 0.0)


def test_files_of_such_a_network_are_read(tmp_path):
    trained = create_model(OwnEncoder, 3, decoder_width=8)
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    settings = ModelSettings(backbone=OwnEncoder, pretrained=str(tmp_path / "own.pth"), decoder_width=8)
    loaded = build_model(settings, 5)
    for part in ("encoder", "affinity_head"):
        wanted = getattr(trained, part).state_dict()
        assert all(torch.equal(value, wanted[name]) for name, value in getattr(loaded, part).state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message", "argument"),
    [
        (
            {"backbone": OwnEncoder, "strides": [4, 2, 2, 1]},
            "need strides=None .* of your own",
            "strides",
        ),
        ({"backbone": nn.Identity}, "need a backbone that is an afa_wsss.models.Encoder, got Identity", "backbone"),
        ({"backbone": 3}, "need the name of a backbone, or a callable that returns an Encoder; got 3", "backbone"),
        ({"backbone": OwnEncoder, "pretrained": "default"}, "none goes with the name of this backbone", "pretrained"),
    ],
)
def test_what_is_no_backbone_is_refused(settings, message, argument):
    with pytest.raises(UserError, match=message) as caught:
        build_model(ModelSettings(**{"pretrained": None, **settings}), 3)
    assert caught.value.arguments == (argument,)


@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_on_their_grid_keep_channels_together(batch) -> None:
    tokens, grid = torch.randn(batch, 7 * 9, 8), Grid(7, 9)
    maps = to_map(tokens, grid)
    assert maps.data_ptr() == tokens.data_ptr()
    for layer in (torch.nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.nn.Conv2d(8, 4, 3, 2)):
        assert layer(maps).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(maps[:, :, 3, 4], tokens[:, 3 * 9 + 4])
    assert torch.equal(to_tokens(maps), tokens)
