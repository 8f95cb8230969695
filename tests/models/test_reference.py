"""Checkpoints of the official code."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from tests.reference_network import reference_network, reference_weights

from afa_wsss.errors import UserError
from afa_wsss.models import create_model, weights
from afa_wsss.models.reference import is_reference_checkpoint, load_reference_checkpoint


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_are_read_from_files(tmp_path, prefix) -> None:
    named = {prefix + key.removeprefix("module."): value for key, value in reference_weights().items()}
    torch.save(OrderedDict(named), tmp_path / "official.pth")
    model = load_reference_checkpoint(tmp_path / "official.pth")
    wanted = reference_network().state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("backbone", "classes", "width"), [("mit_b1", 3, 32), ("mit_b2", 80, 16)])
def test_size_and_classes_come_from_the_shapes(backbone, classes, width) -> None:
    model = create_model(backbone, classes, decoder_width=width)
    found = load_reference_checkpoint(_official(model.state_dict()))
    assert (found.encoder.config, found.num_classes) == (model.encoder.config, classes)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.state_dict().items())


def _official(weights):
    """The inverse of the translation that is tested, for names of the golden checkpoint."""
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
    named = {key: value for key, value in reference_weights().items() if not key.endswith(layer)}
    with pytest.raises(UserError, match="need an official AFA checkpoint, the given mapping has no"):
        load_reference_checkpoint(named)


def test_unknown_depths_are_refused() -> None:
    named = {key: value for key, value in reference_weights().items() if "block2.1." not in key}
    with pytest.raises(UserError, match=r"need a backbone of mit_b0 to mit_b5, .* has depths \(2, 1, 2, 2\)"):
        load_reference_checkpoint(named)


def test_the_public_name_is_imported_on_use() -> None:
    assert weights.load_reference_checkpoint is load_reference_checkpoint
    with pytest.raises(AttributeError, match="has no attribute 'load_something'"):
        weights.load_something  # noqa: B018


def test_other_files_are_no_official_checkpoints(tmp_path) -> None:
    torch.save(reference_weights(), tmp_path / "official.pth")
    torch.save(create_model("mit_b0", 3, decoder_width=8).state_dict(), tmp_path / "ours.pth")
    (tmp_path / "broken.pth").write_bytes(b"")
    found = [is_reference_checkpoint(tmp_path / f"{name}.pth") for name in ("official", "ours", "broken", "absent")]
    assert found == [True, False, False, False]
