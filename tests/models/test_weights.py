from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.reference_network import reference_network, reference_weights

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.encoders.mix_transformer import mix_transformer
from afa_wsss.models.weights.files import load_backbone, load_reference_checkpoint, load_strictly, read_weights


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


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_are_read_from_files(tmp_path, prefix) -> None:
    weights = {prefix + key.removeprefix("module."): value for key, value in reference_weights().items()}
    torch.save(OrderedDict(weights), tmp_path / "official.pth")
    model = load_reference_checkpoint(tmp_path / "official.pth")
    wanted = reference_network().state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("backbone", "classes", "width"), [("mit_b1", 3, 32), ("mit_b2", 80, 16)])
def test_size_and_classes_are_read_off_the_shapes(backbone, classes, width) -> None:
    model = create_model(backbone, classes, decoder_width=width)
    found = load_reference_checkpoint(_official(model.state_dict()))
    assert (found.encoder.config, found.num_classes) == (model.encoder.config, classes)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.state_dict().items())


def _official(weights):
    """The inverse of the translation that is tested, by asking it about every name of the golden checkpoint's kind."""
    names = {
        "encoder.stages.{i}.embedding.projection": "encoder.patch_embed{n}.proj",
        "encoder.stages.{i}.embedding.norm": "encoder.patch_embed{n}.norm",
        "encoder.stages.{i}.norm": "encoder.norm{n}",
        "encoder.stages.{i}.blocks": "encoder.block{n}",
        "segmentation_head.projections.{i}": "decoder.linear_c{n}.proj",
    }
    starts = {own.format(i=i): other.format(n=i + 1) for own, other in names.items() for i in range(4)}
    parts = {
        ".attention_norm.": ".norm1.",
        ".feed_forward_norm.": ".norm2.",
        ".attention.reduction_norm.": ".attn.norm.",
        ".attention.reduction.": ".attn.sr.",
        ".attention.query.": ".attn.q.",
        ".attention.key_value.": ".attn.kv.",
        ".attention.output.": ".attn.proj.",
        ".feed_forward.expand.": ".mlp.fc1.",
        ".feed_forward.depthwise.": ".mlp.dwconv.dwconv.",
        ".feed_forward.contract.": ".mlp.fc2.",
        "segmentation_head.fuse.": "decoder.linear_fuse.conv.",
        "segmentation_head.norm.": "decoder.linear_fuse.bn.",
        "segmentation_head.classify.": "decoder.linear_pred.",
        "affinity_head.": "attn_proj.",
    }
    renamed = {}
    for key, value in weights.items():
        for own, other in (starts | parts).items():
            key = key.replace(own, other)
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("layer", ["classifier.weight", "decoder.linear_c1.proj.weight"])
def test_other_checkpoints_are_refused(layer) -> None:
    weights = {key: value for key, value in reference_weights().items() if not key.endswith(layer)}
    with pytest.raises(UserError, match="need an official AFA checkpoint, the given mapping has no"):
        load_reference_checkpoint(weights)


def test_unknown_depths_are_refused() -> None:
    weights = {key: value for key, value in reference_weights().items() if "block2.1." not in key}
    with pytest.raises(UserError, match=r"need a backbone of mit_b0 to mit_b5, .* has depths \(2, 1, 2, 2\)"):
        load_reference_checkpoint(weights)


def test_weights_that_do_not_fit_are_named(tmp_path) -> None:
    weights = mix_transformer("mit_b0").state_dict()
    weights["stages.0.norm.weight"] = torch.zeros(5)
    weights["surplus"] = weights.pop("stages.3.norm.bias")
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 missing: stages.3.norm.bias; 1 not expected: surplus; 1 of another shape"):
        load_backbone(mix_transformer("mit_b0"), str(tmp_path / "weights.pth"))


def test_another_class_count_is_refused() -> None:
    weights, model = create_model("mit_nano", 4).state_dict(), create_model("mit_nano", 3)
    with pytest.raises(UserError, match=r"classifier.weight \(4, 128, 1, 1\) for \(3, 128, 1, 1\)"):
        load_strictly(model, weights, source="weights.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_run_code_are_refused(tmp_path, zipped) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": Path("x")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"convert it: w = torch\.load\(.*safetensors\.torch\.save_file"):
        read_weights(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_broken_files_are_told(tmp_path, name, content) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read; is the download complete"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"model": 3}, {"epoch": 3}])
def test_files_without_named_tensors_are_told(tmp_path, content) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="need named tensors"):
        read_weights(tmp_path / "weights.pth")
