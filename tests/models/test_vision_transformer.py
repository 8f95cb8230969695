"""Vision transformers of timm behind AFA: attention logits against timm's own unfused attention, grids, weights."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from afa_wsss.inference import multi_scale_cam
from afa_wsss.models import create_model
from afa_wsss.models.backbones import create_encoder
from afa_wsss.models.vision_transformer import create_vision_transformer
from afa_wsss.models.weights import load_backbone
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD
from afa_wsss.training.optim import afa_optimizer
from afa_wsss.types import UserError

DEIT = "deit_tiny_patch16_224"
KINDS = {
    "vit": "vit_tiny_patch16_224",
    "deit": DEIT,
    "two prefix tokens": "deit_tiny_distilled_patch16_224",
    "layer scale": "vit_small_patch14_dinov2",
    "registers": "vit_small_patch14_reg4_dinov2",
    "rotary": "vit_small_patch16_dinov3",
    "rotary and absolute": "eva02_tiny_patch14_224",
    "norm of queries": "vit_little_patch16_reg4_gap_256",
}
"""One of timm's names for each way in which its transformers differ."""


def built(name, size=(52, 84)):
    """A backbone with weights of a size at which attention differs from token to token, and photos in odd sizes."""
    torch.manual_seed(0)
    encoder = create_encoder(name, drop_path_rate=0.0).eval()
    with torch.no_grad():
        for block in encoder.transformer.blocks[-2:]:
            for name, parameter in block.attn.named_parameters():
                if "proj" in name or "qkv" in name:
                    parameter.copy_(0.2 * torch.randn_like(parameter))
    return encoder, torch.randn(2, 3, *size)


def probabilities(encoder, images):
    """What timm's unfused attention gives to its dropout, for the last two blocks."""
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
    features, logits = encoder(images)
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
    assert wanted.std() > 1e-3  # far from even: the comparison tells something


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
    optimizer = afa_optimizer(network)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(network.parameters()))


def test_affinity_alone_teaches_queries_and_keys():
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
    network.encoder.compile(backend="aot_eager")
    for found, wanted in zip(network(images), plain, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert dynamo["unique_graphs"] == 1


# --- refused ---

UNFIT = {
    "hierarchical": "swin_tiny_patch4_window7_224",
    "convolutions": "convnext_tiny",
    "reduced keys": "pvt_v2_b0",
    "attention across channels": "xcit_nano_12_p16_224",
    "position in the logits": "beit_base_patch16_224",
}


@pytest.mark.parametrize("name", UNFIT.values(), ids=UNFIT.keys())
def test_models_without_square_attention_are_refused(name):
    with pytest.raises(UserError, match=f"need a plain vision transformer .* timm's {name} has no such attention"):
        create_encoder(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("deit_smal_patch16_224", "got 'deit_smal_patch16_224', did you mean deit_small_patch16_224 or "),
        ("vit_small_patch16_224.nobody", "got 'vit_small_patch16_224.nobody', did you mean vit_small_patch16_224"),
        ("mit_b9", "need a backbone of mit_nano, mit_b0"),
    ],
)
def test_unknown_names_are_refused(name, told):
    with pytest.raises(UserError, match=re.escape(told)):
        create_encoder(name)


def test_strides_are_those_of_a_mix_transformer():
    with pytest.raises(UserError, match=re.escape(f"need model.strides=null for {DEIT}")):
        create_encoder(DEIT, strides=[4, 2, 2, 1])


# --- weights ---


def saved(path, name, *, wrapped=False, **settings):
    """A file of timm's layout, of random weights and a classifier; and the model."""
    model = timm.create_model(name, num_classes=7, **settings).eval()
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"model": weights} if wrapped else weights, path)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_files_of_timm_are_read(tmp_path, name):
    path = tmp_path / "model.safetensors"
    other, encoder = saved(path, name, img_size=112), create_vision_transformer(name, drop_path_rate=0.0).eval()
    load_backbone(encoder, str(path))
    theirs = other.state_dict()
    differing = {
        key
        for key, value in encoder.transformer.state_dict().items()
        if key not in theirs or not torch.equal(value, theirs[key])
    }
    assert differing <= {"pos_embed", "norm.weight", "norm.bias"}  # made for another size; named fc_norm there


def test_files_of_deit_are_read(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "deit.pth"
    other, encoder = saved(path, DEIT, wrapped=True), create_vision_transformer(DEIT)
    load_backbone(encoder, str(path))
    assert torch.equal(encoder.transformer.pos_embed, other.pos_embed)
    assert f"backbone from {path} (layout: timm)" in caplog.text


def test_files_of_dinov2_are_read(tmp_path):
    """As its authors publish them: a token for masked patches, none of the registers' names of timm."""
    other = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=112)
    theirs = dict(other.state_dict())
    theirs["register_tokens"] = theirs.pop("reg_token")
    theirs["mask_token"] = torch.zeros(1, 384)
    theirs["pos_embed"] = torch.cat([torch.zeros(1, 1, 384), theirs["pos_embed"]], dim=1)
    torch.save(theirs, tmp_path / "dinov2.pth")
    encoder = create_vision_transformer("vit_small_patch14_reg4_dinov2")
    load_backbone(encoder, str(tmp_path / "dinov2.pth"))
    assert torch.equal(encoder.transformer.reg_token, other.reg_token)
    assert torch.equal(encoder.transformer.blocks[3].ls1.gamma, other.blocks[3].ls1.gamma)


def test_a_norm_after_pooling_becomes_the_norm_of_every_token(tmp_path):
    name = "vit_little_patch16_reg4_gap_256"
    other = saved(tmp_path / "gap.safetensors", name)
    with torch.no_grad():
        other.fc_norm.weight.fill_(3.0)
    save_file(other.state_dict(), tmp_path / "gap.safetensors")
    encoder = create_vision_transformer(name)
    load_backbone(encoder, str(tmp_path / "gap.safetensors"))
    assert torch.equal(encoder.transformer.norm.weight, other.fc_norm.weight)


@pytest.mark.parametrize("ending", ["own.safetensors", "network.pth"])
def test_our_own_files_are_read(tmp_path, ending):
    network, encoder = create_model(DEIT, 3, decoder_width=16), create_vision_transformer(DEIT)
    path = tmp_path / ending
    if path.suffix == ".pth":
        torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}, path)
    else:
        save_file(network.encoder.state_dict(), path)
    load_backbone(encoder, str(path))
    wanted = network.encoder.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in encoder.state_dict().items())


def test_what_does_not_fit_is_named(tmp_path):
    saved(tmp_path / "tiny.safetensors", DEIT)
    with pytest.raises(UserError, match=re.escape("transformer.blocks.0.attn.proj.bias (192,) for (384,)")):
        load_backbone(create_vision_transformer("deit_small_patch16_224"), str(tmp_path / "tiny.safetensors"))
    save_file(create_encoder("mit_b0").state_dict(), tmp_path / "mit.safetensors")
    with pytest.raises(UserError, match=r"missing: .*; 176 not expected: "):
        load_backbone(create_vision_transformer(DEIT), str(tmp_path / "mit.safetensors"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("word", ["default", "True", "true"])
def test_default_weights_are_those_of_timm_on_the_hub(cache, word):
    folder = cache / "models--timm--deit_tiny_patch16_224.fb_in1k"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    other = saved(snapshot / "model.safetensors", DEIT)
    network = create_model(DEIT, 3, pretrained=word, decoder_width=16)
    assert torch.equal(network.encoder.transformer.cls_token, other.cls_token)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (DEIT, "timm/deit_tiny_patch16_224.fb_in1k/resolve/main/model.safetensors"),
        (
            "deit_tiny_distilled_patch16_224",
            "timm/deit_tiny_distilled_patch16_224.fb_in1k/resolve/main/model.safetensors",
        ),
        ("mit_b2", "nvidia/mit-b2/resolve/main/model.safetensors"),
    ],
)
def test_without_a_network_the_file_is_named(cache, name, file):
    with pytest.raises(UserError, match=rf"need weights of hf-hub:.*{re.escape(file)}.* give model.pretrained=PATH"):
        create_model(name, pretrained="default")


def test_where_timm_has_no_weights_that_is_told(cache):
    with pytest.raises(UserError, match="need a file of weights, timm has none on the hub for this backbone"):
        create_model("vit_betwixt_patch16_gap_256", pretrained="default")
