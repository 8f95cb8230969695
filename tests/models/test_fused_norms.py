"""Batch norms that convolutions compute: the same outputs for any backbone, and never in place of what differs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from afa_wsss.models import AFA, Encoder, EncoderOutput, Grid, create_model
from afa_wsss.models.encoders.encoder import Attention
from afa_wsss.models.fused_norms import FusedNorms, fuse_batch_norms
from afa_wsss.types import dense


def trained(network: AFA) -> AFA:
    """Batch norms as training leaves them: no statistic and no weight at its first value."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for values, low, high in (
                    (norm.running_mean, -0.5, 0.5),
                    (norm.running_var, 0.5, 2.0),
                    (norm.weight, 0.5, 1.5),
                    (norm.bias, -0.5, 0.5),
                ):
                    values.copy_(torch.empty_like(values).uniform_(low, high, generator=generator))
    return network


def norms(network: AFA) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.encoder.modules())


@torch.no_grad()
def difference(one: AFA, other: AFA) -> float:
    """Largest difference of all outputs, relative to the largest value of each."""
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    found, expected = (each.view(images, decoded=2, paired=2) for each in (one, other))
    pairs = [
        (found.cam, expected.cam),
        (found.class_logits, expected.class_logits),
        (found.seg_logits, expected.seg_logits),
        (dense(found.affinity), dense(expected.affinity)),
    ]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize(
    ("backbone", "left"),
    [
        ("mit_nano", 0),
        ("tf_efficientnet_lite0", 0),
        ("resnet18", 0),
        ("mobilenetv3_small_100", 0),
        ("regnetx_002", 0),
        pytest.param("densenet121", 62, marks=pytest.mark.slow),  # its blocks normalize first
    ],
)
def test_outputs_are_those_of_the_network(backbone: str, left: int) -> None:
    network = trained(create_model(backbone, num_classes=3)).eval()

    fused = fuse_batch_norms(network)

    assert norms(network) > left
    assert norms(fused) == left
    assert difference(fused, network) < 1e-4


@pytest.mark.parametrize("backbone", ["mit_b0", "convnext_atto"])
def test_a_network_without_batch_norms_is_left_as_it_is(backbone: str) -> None:
    network = create_model(backbone, num_classes=3)

    assert fuse_batch_norms(network) is network


def test_the_network_keeps_its_weights_and_its_mode() -> None:
    network = trained(create_model("tf_efficientnet_lite0", num_classes=3)).train()
    before, modes = copy.deepcopy(network.state_dict()), [part.training for part in network.modules()]
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)

    fused = fuse_batch_norms(network)

    assert torch.rand(1) == drawn, "draws from torch's generator"
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not fused.training
    assert not any(part.training for part in fused.encoder.modules())
    assert fused.segmentation_head is network.segmentation_head


class Swapped(Encoder):
    """A norm is made after a convolution that it does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.widths, self.attention_channels = (8, 8), 1
        self.fine = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.coarse = nn.Conv2d(8, 8, 2, stride=2)

    def encode(self, images: torch.Tensor, *, attention: bool) -> EncoderOutput:
        fine = self.fine(images).relu()
        coarse = self.norm(self.coarse(fine))
        tokens = coarse.flatten(2).mT[:, None]
        return EncoderOutput((fine, coarse), Attention(tokens, tokens) if attention else None)

    def grid(self, height: int, width: int) -> Grid:
        return Grid(height // 8, width // 8)

    def attention_inputs(self) -> list[nn.Parameter]:
        return []


def test_parts_made_in_another_order_are_left_as_they_are() -> None:
    network = trained(create_model(Swapped, num_classes=2)).eval()

    assert fuse_batch_norms(network) is network


class Keeping(Swapped):
    """Keeps the features of its last pass, as code for pictures does."""

    def encode(self, images: torch.Tensor, *, attention: bool) -> EncoderOutput:
        found = super().encode(images, attention=attention)
        self.last = found.features[-1]
        return found


class Picky(Swapped):
    """Takes images of one size alone."""

    def encode(self, images: torch.Tensor, *, attention: bool) -> EncoderOutput:
        if images.shape[-1] != 96:
            raise ValueError(f"need images of 96 pixels, got {images.shape[-1]}")
        return super().encode(images, attention=attention)


@pytest.mark.parametrize("kind", [Keeping, Picky])
def test_an_encoder_that_cannot_be_copied_or_tried_is_left_as_it_is(
    kind: type[Swapped], caplog: pytest.LogCaptureFixture
) -> None:
    network = trained(create_model(Swapped, num_classes=2))
    network.encoder = kind()
    network(torch.randn(2, 3, 96, 96))
    with caplog.at_level("INFO", logger="afa_wsss"):
        assert fuse_batch_norms(network) is network
    assert f"batch norms of {kind.__name__} are not fused for validation" in caplog.text


def test_it_is_made_again_where_weights_have_changed() -> None:
    network, fused = trained(create_model("mit_nano", num_classes=2)).eval(), FusedNorms()
    first = fused.of(network)
    assert fused.of(network) is first
    other = trained(create_model("mit_nano", num_classes=2))

    for change in (
        lambda: network.load_state_dict(other.state_dict()),
        lambda: next(network.encoder.parameters()).add_(0.5),
        lambda: next(part for part in network.encoder.buffers() if part.is_floating_point()).add_(0.5),
    ):
        with torch.no_grad():
            change()
        made = fused.of(network)
        assert made is not first
        assert difference(made, network) < 1e-4
        first = made


def test_a_network_of_inference_tensors_is_fused_too() -> None:
    with torch.inference_mode():
        network = trained(create_model("mit_nano", num_classes=2)).eval()
        assert difference(FusedNorms().of(network), network) < 1e-4
