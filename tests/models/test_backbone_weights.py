"""Backbones from files of other projects: Hugging Face's real model, and public names of others (tests/layouts.py)."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.hugging_face import hugging_face, save_published
from tests.layouts import FILES, as_mmseg, as_segformer, random_weights
from tests.models.encoders.test_checked import Tiny
from tests.reference_network import reference_network, reference_weights
from torch import nn
from transformers import SegformerForImageClassification, SegformerForSemanticSegmentation, SegformerModel

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.backbone_weights import load_backbone
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.mix_transformer import mix_transformer
from afa_wsss.models.weights.layouts import LAYOUTS

STRIDES = [4, 2, 2, 2]
"""SegFormer's own; weights do not depend on them."""


@pytest.mark.parametrize("layout", ["safetensors", "pth", "official"])
def test_backbones_round_trip_through_files(tmp_path, layout) -> None:
    source, target = mix_transformer("mit_b0"), mix_transformer("mit_b0")
    path = tmp_path / f"weights.{'safetensors' if layout == 'safetensors' else 'pth'}"
    if layout == "safetensors":
        save_file(source.state_dict(), path)
    elif layout == "pth":
        torch.save({"state_dict": source.state_dict()}, path)
    else:
        prefix, weights = "module.encoder.", reference_weights()
        encoder = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        torch.save(encoder | {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}, path)
        source = reference_network().encoder
    load_backbone(target, str(path))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


class InSegFormersNames(Tiny):
    """A backbone of one's own whose first layer has the name by which files of SegFormer are known."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed1 = nn.Sequential()
        self.patch_embed1.proj = nn.Conv2d(3, 8, 4)


def test_a_file_in_the_backbones_own_names_is_taken_as_it_is(tmp_path) -> None:
    source, target = InSegFormersNames(), InSegFormersNames()
    torch.save(source.state_dict(), tmp_path / "own.pth")
    load_backbone(target, str(tmp_path / "own.pth"))
    assert torch.equal(target.patch_embed1.proj.weight, source.patch_embed1.proj.weight)


@pytest.mark.parametrize("size", [(64, 96), (75, 53)])
@pytest.mark.parametrize("backbone", ["mit_b0", "mit_b1"])
@torch.no_grad()
def test_equals_the_hugging_face_model(tmp_path, backbone, size) -> None:
    other, own = hugging_face(SegformerModel, backbone), mix_transformer(backbone, strides=STRIDES).eval()
    load_backbone(own, str(save_published(other, tmp_path, "safetensors")))
    images = torch.randn(2, 3, *size)
    wanted = other(images, output_hidden_states=True).hidden_states
    found = own(images, attention=False).features
    assert [stage.shape for stage in found] == [stage.shape for stage in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("cls", [SegformerForImageClassification, SegformerForSemanticSegmentation])
def test_heads_of_hugging_face_are_left_out(tmp_path, caplog, cls, suffix) -> None:
    other, own = hugging_face(cls, "mit_b0"), mix_transformer("mit_b0")
    path = save_published(other, tmp_path, suffix)
    with caplog.at_level(logging.INFO):
        load_backbone(own, str(path))
    published = load_file(tmp_path / "model.safetensors")["segformer.encoder.patch_embeddings.2.proj.weight"]
    assert torch.equal(own.stages[2].embedding.projection.weight, published)
    assert "layout: Hugging Face Segformer with head" in caplog.text


@pytest.mark.parametrize("wrapper", ["", "module."])
@pytest.mark.parametrize("layout", FILES)
def test_files_round_trip(tmp_path, caplog, layout, wrapper) -> None:
    own = mix_transformer("mit_b0")
    weights = random_weights(own)
    torch.save({wrapper + name: value for name, value in FILES[layout](weights).items()}, tmp_path / "weights.pth")
    with caplog.at_level(logging.INFO):
        load_backbone(own, str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, weights[name]) for name, value in own.state_dict().items())
    assert f"(layout: {layout})" in caplog.text


@pytest.mark.parametrize("layout", ["SegFormer mit_b*.pth", "mmseg backbone"])
def test_sizes_beyond_ten_blocks_round_trip(tmp_path, layout) -> None:
    own = mix_transformer("mit_b3")
    weights = random_weights(own)
    invert = as_mmseg if layout == "mmseg backbone" else as_segformer
    torch.save(invert(weights, "mit_b3"), tmp_path / "weights.pth")
    load_backbone(own, str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, weights[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
@pytest.mark.parametrize("backbone", ["mit_nano", "mit_b0"])
def test_the_backbone_is_taken_out_of_our_own_networks(tmp_path, caplog, backbone, kind) -> None:
    trained, own = create_model(backbone, 3, decoder_width=16), create_encoder(backbone)
    path = tmp_path / {"network": "network.safetensors", "checkpoint": "last.ckpt"}[kind]
    if kind == "network":
        save_file(trained.state_dict(), path)
    else:
        state = {f"network.{name}": value for name, value in trained.state_dict().items()}
        torch.save({"state_dict": state, "global_step": 3, "config": {}}, path)
    with caplog.at_level(logging.INFO):
        load_backbone(own, str(path))
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in trained.encoder.state_dict().items())
    assert "(layout: afa_wsss network)" in caplog.text


def test_the_backbone_is_taken_out_of_an_official_checkpoint(tmp_path, caplog) -> None:
    torch.save(reference_weights(), tmp_path / "official.pth")
    own = mix_transformer("mit_b0")
    with caplog.at_level(logging.INFO):
        load_backbone(own, str(tmp_path / "official.pth"))
    wanted = reference_network().encoder.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in own.state_dict().items())
    assert "(layout: official AFA checkpoint)" in caplog.text


def test_affinity_heads_come_with_the_backbone_of_an_afa_network(tmp_path) -> None:
    trained = create_model("mit_b0", 3, decoder_width=16)
    save_file(trained.state_dict(), tmp_path / "ours.safetensors")
    torch.save(reference_weights(), tmp_path / "official.pth")
    for name, source in (("ours.safetensors", trained), ("official.pth", reference_network())):
        model = create_model("mit_b0", 5, pretrained=str(tmp_path / name))
        wanted = source.affinity_head.state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in model.affinity_head.state_dict().items())


@pytest.mark.parametrize("layout", FILES)
def test_what_is_neither_backbone_nor_head_is_named(tmp_path, layout) -> None:
    own = mix_transformer("mit_b0")
    weights = FILES[layout](random_weights(own)) | {"surplus.weight": torch.zeros(1)}
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 not expected: surplus\.weight$"):
        load_backbone(own, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("layout", FILES)
def test_what_is_missing_is_named(tmp_path, layout) -> None:
    own = mix_transformer("mit_b0")
    weights = random_weights(own)
    file = FILES[layout](weights)
    last_norm = next(name for name, value in file.items() if value is weights["stages.3.norm.bias"])
    del file[last_norm]
    torch.save(file, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"\(layout: .*\) does not: 1 missing: stages\.3\.norm\.bias$"):
        load_backbone(own, str(tmp_path / "weights.pth"))


def test_a_key_without_its_value_is_named(tmp_path) -> None:
    path = save_published(hugging_face(SegformerModel, "mit_b0"), tmp_path, "safetensors")
    weights = load_file(path)
    del weights["encoder.block.3.1.attention.self.value.bias"]
    save_file(weights, path)
    message = r"1 missing: .*\.1\.attention\.key_value\.bias; 1 not expected: .*\.1\.attention\.key\.bias$"
    with pytest.raises(UserError, match=message):
        load_backbone(mix_transformer("mit_b0"), str(path))


def test_another_size_is_refused(tmp_path) -> None:
    torch.save(as_mmseg(random_weights(mix_transformer("mit_b0")), "mit_b0"), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"176 of another shape: stages\.0.*\(32,\) for \(64,\)"):
        load_backbone(mix_transformer("mit_b1"), str(tmp_path / "weights.pth"))


def test_unknown_layouts_are_refused_with_the_known_ones(tmp_path) -> None:
    torch.save({f"features.{i}.weight": torch.zeros(2) for i in range(5)}, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match=r"has names as features\.0\.weight, .*known are: ") as caught:
        load_backbone(mix_transformer("mit_b0"), str(tmp_path / "resnet.pth"))
    assert all(layout.title in str(caught.value) for layout in LAYOUTS)


def test_weights_that_do_not_fit_are_named(tmp_path) -> None:
    weights = mix_transformer("mit_b0").state_dict()
    weights["stages.0.norm.weight"] = torch.zeros(5)
    weights["surplus"] = weights.pop("stages.3.norm.bias")
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 missing: stages.3.norm.bias; 1 not expected: surplus; 1 of another shape"):
        load_backbone(mix_transformer("mit_b0"), str(tmp_path / "weights.pth"))
