"""Vision transformers of timm: attention logits against timm's own unfused and fused attention, grids, gradients."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from tests.timm_models import DEIT, KINDS

from afa_wsss.errors import UserError
from afa_wsss.inference import multi_scale_cam
from afa_wsss.models import create_model
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.vision_transformer import create_vision_transformer
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD
from afa_wsss.training.optim import OptimizerSettings, afa_optimizer


def built(name, size=(52, 84)):
    """A backbone whose weights are large enough for attention to differ between tokens, and photos of odd sizes."""
    torch.manual_seed(0)
    encoder = create_encoder(name, drop_path_rate=0.0).eval()
    with torch.no_grad():
        for block in encoder.transformer.blocks[-2:]:
            for name, parameter in block.attn.named_parameters():
                if "proj" in name or "qkv" in name:
                    parameter.copy_(0.2 * torch.randn_like(parameter))
    return encoder, torch.randn(2, 3, *size)


def probabilities(encoder, images):
    """Attention probabilities of timm's unfused attention in the last two blocks."""
    seen, hooks = [], []
    for block in encoder.transformer.blocks[-2:]:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0])))
    encoder(images, attention=False)
    for hook in hooks:
        hook.remove()
    return torch.cat(seen, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_logits_are_those_of_timms_unfused_attention(name):
    encoder, images = built(name)
    features, attention = encoder(images)
    logits = attention.logits()
    grid = encoder.grid(*images.shape[-2:])
    tokens, prefix = grid.height * grid.width, encoder.transformer.num_prefix_tokens
    assert logits.shape == (2, encoder.attention_channels, tokens, tokens)
    assert [tuple(part.shape) for part in features] == [(2, width, *grid) for width in encoder.widths]
    wanted = probabilities(encoder, images)
    assert wanted.shape[-1] == tokens + prefix
    wanted = wanted[:, :, prefix:, prefix:]
    scale = encoder.transformer.blocks[-1].attn.scale
    torch.testing.assert_close(
        (scale * logits).softmax(dim=-1), wanted / wanted.sum(dim=-1, keepdim=True), atol=1e-5, rtol=1e-4
    )
    assert wanted.std() > 1e-3  # far from uniform, so that the comparison means something


def products(encoder, images):
    """q k^T of the image's own tokens, as timm hands them to torch's fused attention in the last two blocks."""
    calls, fused, prefix = [], F.scaled_dot_product_attention, encoder.transformer.num_prefix_tokens

    def watched(query, key, *arguments, **keywords):
        calls.append(query[:, :, prefix:] @ key[:, :, prefix:].mT)
        return fused(query, key, *arguments, **keywords)

    with patch.object(F, "scaled_dot_product_attention", watched):
        encoder(images, attention=False)
    assert len(calls) == len(encoder.transformer.blocks)  # every block is fused
    return torch.cat(calls[-2:], dim=1)


@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_logits_and_their_gradients_are_products_of_what_the_fused_attention_is_given(name):
    encoder, images = built(name)
    gradients = []
    found, wanted = encoder(images).attention.logits(), products(encoder, images)
    torch.testing.assert_close(found, wanted, atol=1e-4 * float(wanted.detach().abs().max()), rtol=1e-4)
    for logits in (found, wanted):
        found_gradients = torch.autograd.grad(logits.square().mean(), encoder.attention_inputs(), allow_unused=True)
        gradients.append([gradient for gradient in found_gradients if gradient is not None])
    assert gradients[0]
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_features_are_timms_whether_attention_is_read_or_not(name):
    encoder, images = built(name)
    (last, *_), (read, *_) = encoder(images, attention=False).features[::-1], encoder(images).features[::-1]
    assert torch.equal(last, read)
    mean, std = (torch.tensor(encoder.transformer.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    photos = (images * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / 255
    tokens = encoder.transformer.forward_features((photos - mean) / std)[:, encoder.transformer.num_prefix_tokens :]
    torch.testing.assert_close(last.flatten(2).mT, tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_every_parameter_has_gradient_and_a_group(name):
    network = create_model(name, 3, decoder_width=16, drop_path_rate=0.0)
    output = network(torch.randn(2, 3, 48, 64))
    sum(part.float().square().mean() for part in output[:3]).backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []
    assert network.encoder.attention_inputs()[0].grad.abs().sum() > 0
    optimizer = afa_optimizer(network, OptimizerSettings())
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(network.parameters()))
    norms = next(group for group in optimizer.param_groups if group["name"] == "norms")
    of_norms = {key for key, module in network.encoder.named_modules() if type(module).__name__.endswith("Norm")}
    wanted = {id(own) for key, own in network.encoder.named_parameters() if key.rpartition(".")[0] in of_norms}
    assert {id(parameter) for parameter in norms["params"]} == wanted


def test_affinity_alone_gives_gradient_to_queries_and_keys():
    network = create_model(DEIT, 3, decoder_width=16, drop_path_rate=0.0)
    network(torch.randn(1, 3, 48, 48)).affinity.mean().backward()
    width = network.encoder.transformer.embed_dim
    gradient = network.encoder.transformer.blocks[-1].attn.qkv.weight.grad
    assert gradient[: 2 * width].abs().min() > 0
    assert gradient[2 * width :].abs().max() == 0


def test_only_the_last_blocks_are_read():
    encoder, images = built(DEIT)
    kept = [module for module in encoder.modules() if module._forward_hooks]
    assert len(kept) == 2 * 2  # norms of queries and keys, of two blocks
    assert all(block.attn.fused_attn for block in encoder.transformer.blocks)
    encoder(images)
    assert all(reader.query is None and reader.key is None for reader in encoder.readers)


@pytest.mark.parametrize(("size", "grid"), [((64, 64), (4, 4)), ((65, 47), (5, 3)), ((320, 176), (20, 11))])
def test_grids_and_multi_scale_maps(size, grid):
    network = create_model(DEIT, 3, decoder_width=16).eval()
    assert network.grid(*size) == grid
    cam, affinity = multi_scale_cam(network, torch.randn(1, 3, *size), scales=(1.0, 0.5, 1.5))
    assert cam.shape == (1, 3, *size)
    height, width = network.grid(int(1.5 * size[0]), int(1.5 * size[1]))
    assert affinity.shape == (1, height * width, height * width)


def test_patches_of_fourteen_give_a_grid_of_their_own():
    encoder = create_encoder("vit_small_patch14_dinov2")
    assert encoder.grid(112, 140) == (8, 10)
    assert encoder.smallest_side == 14
    with pytest.raises(UserError, match="need images of at least 14 pixels a side, got 13 x 40"):
        encoder(torch.zeros(1, 3, 13, 40))


@torch.no_grad()
def test_bf16_autocast_stays_close():
    network, images = create_model(DEIT, 3, decoder_width=16).eval(), torch.randn(2, 3, 64, 64)
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images)
    assert rough.affinity.dtype == torch.float32
    for found, wanted in zip(rough, exact, strict=True):
        assert (found.float() - wanted).abs().max() <= 0.03 * wanted.abs().max()


def test_compiled_it_keeps_its_values(dynamo):
    network, images = (
        create_model(DEIT, 3, decoder_width=16, drop_path_rate=0.0, dropout=0.0),
        torch.randn(2, 3, 64, 64),
    )
    plain = network(images)
    network.encoder.compile(backend="eager")
    for found, wanted in zip(network(images), plain, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert dynamo["unique_graphs"] == 1


UNFIT = {
    "hierarchical, of one size": "hiera_tiny_224",
    "patches made by convolutions": "vit_tiny_r_s16_p8_224",
    "attention in windows": "samvit_base_patch16",
    "two matrices in each head": "vit_dwee_patch16_reg1_gap_256",
    "blocks side by side": "vit_small_patch16_18x2_224",
    "attention across channels": "xcit_nano_12_p16_224",
    "position in the logits": "beit_base_patch16_224",
}
HIERARCHICAL = ("swin_tiny_patch4_window7_224", "mvitv2_tiny", "convnext_tiny", "pvt_v2_b0")
"""Models with feature maps: they get attention of their own on top (``timm_features``)."""


@pytest.mark.parametrize("name", [*UNFIT.values(), *HIERARCHICAL], ids=[*UNFIT.keys(), *HIERARCHICAL])
def test_models_without_square_attention_are_refused(name):
    with pytest.raises(UserError, match=f"plain vision transformer .* {name} is neither; choose a ConvNeXt") as caught:
        create_vision_transformer(name)
    assert (caught.value.kind, caught.value.arguments) == ("unknown", ("backbone",))


@torch.no_grad()
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_what_acts_in_training_is_declared(name, rate):
    encoder, images = create_vision_transformer(name, drop_path_rate=rate), torch.randn(8, 3, 32, 48)
    for block in encoder.transformer.blocks:  # else some layer scales make dropped paths too small to see
        for key, parameter in block.named_parameters():
            if "gamma" in key:
                parameter.fill_(1.0)
    assert encoder.acts_in_training() is (rate > 0)
    found = encoder(images).features[-1]
    encoder.eval()
    assert not encoder.acts_in_training()
    assert torch.allclose(encoder(images).features[-1], found, atol=1e-5) is (rate == 0)
