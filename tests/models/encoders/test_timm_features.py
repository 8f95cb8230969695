"""Models of timm with feature maps: maps and grids at any image size, the blocks on top, training."""

from __future__ import annotations

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.encoders.attention_block import Context
from afa_wsss.models.encoders.encoder import Grid
from afa_wsss.models.encoders.timm_body import feature_maps, has_feature_maps
from afa_wsss.models.encoders.timm_features import TimmFeatureEncoder, create_timm_features
from afa_wsss.models.encoders.vision_transformer import VisionTransformerEncoder
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD, resize

SWIN = "swin_tiny_patch4_window7_224"
KINDS = {
    "batch norms": "resnet18",
    "layer norms over channels": "test_convnext",
    "TensorFlow's padding": "tf_efficientnet_lite0",
    "dilated by timm's own feature class": "mobilenetv3_small_050",
    "windows, channels last": SWIN,
    "windows of a fixed part of the image": "test_maxvit",
    "reduced keys": "pvt_v2_b0",
    "branches at several strides": "hrnet_w18_small",
    "groups": "regnetx_002",
    "weights standardized, no norm": "test_nfnet",
    "not dilated by timm": "ghostnet_050",
}
"""A small model of each way in which timm's models differ."""

DILATED = ("resnet18", "test_convnext", "tf_efficientnet_lite0", "mobilenetv3_small_050", "regnetx_002", "test_nfnet")

all_kinds = pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())


def cells(size, stride):
    return tuple(math.ceil(side / stride) for side in size)


def prepared(encoder, images):
    """ImageNet-normalized images as timm normalizes the same photos for this model."""
    photos = (images * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / 255
    mean, std = (torch.tensor(encoder.config[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (photos - mean) / std


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (75, 97), (16, 33)])
@all_kinds
def test_maps_and_logits_have_the_grid_that_is_announced(name, size):
    encoder = create_timm_features(name).eval()
    features, attention = encoder(torch.randn(2, 3, *size))
    grid = encoder.grid(*size)
    assert grid == cells(size, 16)
    wanted = [(2, width, *cells(size, stride)) for width, stride in zip(encoder.widths, (4, 8, 16, 16), strict=True)]
    assert [tuple(maps.shape) for maps in features] == wanted
    tokens = grid.height * grid.width
    assert attention.logits().shape == (2, encoder.attention_channels, tokens, tokens)
    assert encoder(torch.randn(2, 3, *size), attention=False).attention is None


@torch.no_grad()
@all_kinds
def test_features_are_timms_own(name):
    """Of the same weights in a model that timm builds for features; without padding, the sides being multiples."""
    encoder = create_timm_features(name).eval()
    words = {"output_stride": 16} if name in DILATED else {"strict_img_size": False} if name == SWIN else {}
    # As timm offers it to everyone: its default feature class, whose tensors have other names but the same order.
    other = timm.create_model(name, features_only=True, **words).eval()
    theirs = dict(zip(other.state_dict(), encoder.body.state_dict().values(), strict=False))
    other.load_state_dict(theirs)
    images = torch.randn(1, 3, encoder.multiple, 2 * encoder.multiple)
    maps = other(prepared(encoder, images))[-4:]
    if name == SWIN:
        maps = [one.permute(0, 3, 1, 2) for one in maps]
    *finer, deepest = encoder(images, attention=False).features
    for found, wanted in zip(finer, maps, strict=False):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    projected = nn.functional.interpolate(maps[-1], size=deepest.shape[-2:], mode="bilinear")
    torch.testing.assert_close(deepest, encoder.projection(projected).relu(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing_but_the_border():
    encoder = create_timm_features("resnet18").eval()
    images = torch.randn(1, 3, 150, 256)
    whole = encoder(images).features[0]
    filled = encoder(nn.functional.pad(images, (0, 0, 0, 10))).features[0]
    assert encoder(images[:, :, :144]).features[0].shape[-2] == 36
    torch.testing.assert_close(whole, filled[:, :, :38])


def test_the_blocks_start_as_the_identity_and_are_trained():
    encoder = create_timm_features("resnet18").eval()
    images = torch.randn(1, 3, 64, 64)
    plain = encoder(images)
    blocks, encoder.attention_blocks = encoder.attention_blocks, nn.ModuleList()
    without = encoder(images, attention=False).features[-1]
    encoder.attention_blocks = blocks
    assert torch.equal(plain.features[-1], without)
    assert without.min() == 0  # ReLU, and no norm after it
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    for _ in range(2):  # in the second step the layers before the last ones have gradient too
        optimizer.zero_grad()
        encoder(images).features[-1].square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().max() > 0 for parameter in blocks.parameters() if parameter.grad is not None)
    assert not torch.equal(encoder(images).features[-1], plain.features[-1])


def test_the_affinity_gives_gradient_to_queries_and_keys_from_the_first_step():
    encoder = create_timm_features("test_convnext")
    encoder(torch.randn(1, 3, 48, 64)).attention.logits().square().mean().backward()
    inputs = encoder.attention_inputs()
    assert [tuple(parameter.shape) for parameter in inputs[2:]] == [(512, 256), (512,)] * 2
    assert [len(parameter) for parameter in inputs[:2]] == [256] * 2
    assert all(parameter.grad.abs().max() > 0 for parameter in inputs)
    assert all(
        block.value.weight.grad is None or block.value.weight.grad.abs().max() == 0
        for block in encoder.attention_blocks
    )


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", SWIN])
def test_the_affinity_starts_as_the_similarity_of_the_last_two_maps(name):
    network = create_model(name, 3).eval()
    encoder, images = network.encoder, torch.randn(1, 3, 64, 64)
    maps = feature_maps(encoder.body, encoder.taken, encoder._prepared(images))[-2:]
    normed = [F.layer_norm(each.flatten(2).mT, each.shape[1:2]).mT.unflatten(2, each.shape[2:]) for each in maps]
    whole = torch.cat([mix.weight for mix in encoder.context.mixes], dim=1)
    torch.testing.assert_close(whole @ whole.T, torch.eye(256), atol=1e-5, rtol=0)
    context = torch.einsum("dc,bchw->bdhw", whole, torch.cat([resize(each, (4, 4)) for each in normed], dim=1))
    apart = (context - context.mean(dim=(2, 3), keepdim=True))[0].flatten(1)
    similarity = (8 / 256) * torch.tensor([[float((one * other).sum()) for one in apart.T] for other in apart.T])
    torch.testing.assert_close(network(images).affinity[0], similarity.sigmoid(), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_contexts_of_equal_cells_are_equal_and_their_mean_is_zero():
    context = Context((6, 10), 8)
    fine, coarse = torch.randn(2, 6, 4, 4), torch.randn(2, 10, 2, 2)
    fine[..., 0, 1] = fine[..., 0, 0] = 3 * fine[..., 2, 2]  # what a cell is, not how strong
    found = context((fine, coarse[..., :1, :1].expand(2, 10, 2, 2)), Grid(3, 4))
    assert found.shape == (2, 12, 8)
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(2, 8), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    torch.testing.assert_close(found[:, 0], found[:, 10], atol=1e-4, rtol=1e-4)  # row 2, column 2


@torch.no_grad()
def test_logits_are_those_of_the_attention_that_runs():
    encoder = create_timm_features("test_convnext").eval()
    block = encoder.attention_blocks[0]
    tokens, context = torch.randn(2, 2, 12, 256)
    nn.init.eye_(block.output.weight)
    found, attention = block(tokens, context)
    weights = (attention.logits() / math.sqrt(32)).softmax(dim=-1)
    value = block.value(block.attention_norm(tokens)).unflatten(2, (8, 32)).transpose(1, 2)
    torch.testing.assert_close(found - tokens, (weights @ value).transpose(1, 2).flatten(2), atol=1e-5, rtol=1e-4)


@all_kinds
def test_every_parameter_has_gradient_in_a_step(name):
    network = create_model(name, 3, decoder_width=16)
    output = network(torch.randn(2, 3, 64, 96))
    sum(part.float().square().mean() for part in output[:3]).backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@all_kinds
def test_norms_of_tokens_are_apart_and_batch_norms_are_trained_with_the_body(name):
    encoder = create_timm_features(name)
    norms, logits = ({id(one) for one in group} for group in (encoder.norms(), encoder.attention_inputs()))
    assert not norms & logits
    wanted = [module for module in encoder.modules() if isinstance(module, nn.LayerNorm)]
    assert len(wanted) >= 4
    assert norms == {id(parameter) for module in wanted for parameter in module.parameters()}


@torch.no_grad()
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", SWIN])
def test_bf16_autocast_stays_close(name):
    network, images = create_model(name, 3, decoder_width=16).eval(), torch.randn(2, 3, 64, 64)
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images)
    assert rough.affinity.dtype == torch.float32
    for found, wanted in zip(rough, exact, strict=True):
        assert (found.float() - wanted).abs().max() <= 0.05 * wanted.abs().max()


def test_compiled_it_keeps_its_values(dynamo):
    encoder, images = create_timm_features("resnet18", drop_path_rate=0.0).eval(), torch.randn(2, 3, 64, 64)
    plain = encoder(images)
    encoder.compile(backend="eager")
    compiled = encoder(images)
    for found, wanted in zip(compiled.features, plain.features, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert dynamo["unique_graphs"] == 1


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "rate", "acts"), [("resnet18", 0.0, True), ("test_convnext", 0.1, True), ("test_convnext", 0.0, False)]
)
def test_what_acts_in_training_is_declared(name, rate, acts):
    encoder, images = create_timm_features(name, drop_path_rate=rate), torch.randn(4, 3, 64, 64)
    assert encoder.acts_in_training() is acts
    found = encoder(images).features[-1]
    encoder.eval()
    assert not encoder.acts_in_training()
    assert torch.equal(encoder(images).features[-1], found) is not acts


def test_a_network_is_built_by_name_and_learns():
    network = create_model("tf_efficientnet_lite0", 3, pooling="average", decoder_width=16)
    assert isinstance(network.encoder, TimmFeatureEncoder)
    optimizer, losses = torch.optim.AdamW(network.parameters(), lr=1e-3), []
    images, labels = torch.randn(4, 3, 64, 64), torch.eye(4, 3)
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(network(images).class_logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    cam, affinity = network.eval().activate(images, affinity=True, mirror=True)
    assert cam.shape == (8, 3, 4, 4)
    assert affinity.dense().shape == (4, 16, 16)


def test_plain_vision_transformers_have_an_encoder_of_their_own():
    assert isinstance(create_model("deit_tiny_patch16_224", 3, decoder_width=16).encoder, VisionTransformerEncoder)


def test_paths_are_dropped_in_timms_model_as_asked():
    rates = [
        module.drop_prob
        for module in create_timm_features("resnet18", drop_path_rate=0.3).modules()
        if isinstance(module, timm.layers.DropPath)
    ]
    assert max(rates) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deit_tiny_patch16_224", "has none at these strides"),
        ("nest_tiny", "has none at these strides"),
        ("hiera_tiny_224", "takes images of one size only"),
        ("inception_v3", "has maps of other sizes"),
    ],
)
def test_models_without_such_maps_are_refused(name, reason):
    with pytest.raises(UserError, match=f"need a model of timm with feature maps .* {name} .*{reason}") as caught:
        create_timm_features(name)
    assert caught.value.arguments == ("backbone",)
    assert "\n" not in str(caught.value)


def test_plain_transformers_have_no_feature_maps_and_asking_draws_no_random_number():
    before = torch.get_rng_state()
    assert [has_feature_maps(name) for name in ("deit_tiny_patch16_224", "vit_small_patch14_dinov2")] == [False] * 2
    assert has_feature_maps("resnet18")
    assert torch.equal(before, torch.get_rng_state())
