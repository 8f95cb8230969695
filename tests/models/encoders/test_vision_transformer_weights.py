"""Weight files for vision transformers: timm's own, and those that timm translates."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.timm_models import DEIT, KINDS

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.backbone_weights import load_backbone
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.vision_transformer import create_vision_transformer


def saved(path, name, *, wrapped=False, **settings):
    """Writes a file in timm's layout, with random weights and a classifier; returns the model."""
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


def test_the_normalization_of_a_file_is_told(tmp_path, caplog):
    """MAE's and DINO's authors normalize for ImageNet, timm's weights of the same name for 0.5."""
    caplog.set_level("INFO")
    saved(tmp_path / "mae.pth", "vit_tiny_patch16_224")
    load_backbone(create_vision_transformer("vit_tiny_patch16_224"), str(tmp_path / "mae.pth"))
    assert "photos are normalized with mean 0.500, 0.500, 0.500 and std" in caplog.text


@pytest.mark.parametrize(
    ("name", "of", "message"),
    [
        ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "need weights that fit the model"),
        ("deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224", "need weights that fit the model"),
        ("vit_small_patch32_224", "vit_small_patch16_224", "need weights for patches of 32 x 32 pixels, got 16 x 16"),
    ],
)
def test_files_of_a_sibling_are_refused(tmp_path, name, of, message):
    """timm's translation would raise an error of its own, or resample patches."""
    saved(tmp_path / "sibling.pth", of)
    with pytest.raises(UserError, match=message):
        load_backbone(create_vision_transformer(name), str(tmp_path / "sibling.pth"))


def test_files_of_dinov2_are_read(tmp_path):
    """The authors' files have a token for masked patches, and other names for the registers than timm."""
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


@pytest.mark.parametrize("suffix", ["own.safetensors", "network.pth"])
def test_our_own_files_are_read(tmp_path, suffix):
    network, encoder = create_model(DEIT, 3, decoder_width=16), create_vision_transformer(DEIT)
    path = tmp_path / suffix
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


@pytest.mark.parametrize("word", ["default", "True", "true"])
def test_default_weights_are_those_of_timm_on_the_hub(hub_cache, word):
    folder = hub_cache / "models--timm--deit_tiny_patch16_224.fb_in1k"
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
def test_without_a_network_the_file_is_named(hub_cache, name, file):
    with pytest.raises(UserError, match=rf"need weights of hf-hub:.*{re.escape(file)}.* give the path of that file"):
        create_model(name, pretrained="default")


def test_default_weights_are_refused_where_timm_has_none(hub_cache):
    with pytest.raises(UserError, match="need a file of weights, none goes with the name of this backbone"):
        create_model("vit_betwixt_patch16_gap_256", pretrained="default")
