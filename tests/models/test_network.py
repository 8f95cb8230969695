from __future__ import annotations

import json
import pickle
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from afa_wsss.inference import multi_scale_cam, multi_scale_logits
from afa_wsss.models import create_model
from afa_wsss.models.mix_transformer import MIX_TRANSFORMERS, mix_transformer
from afa_wsss.models.weights import load_backbone, load_reference_checkpoint, read_weights
from afa_wsss.types import UserError

GOLDEN = Path(__file__).parents[1] / "golden"


def _tensor(name: str, shape: list[int]) -> torch.Tensor:
    """Weights that the golden data was made with: see the table in the design."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    """An official checkpoint, as DataParallel saved it."""
    keys = json.loads((GOLDEN / "reference_keys_mit_b0.json").read_text())
    return {f"module.{name}": _tensor(name, shape) for name, shape in keys.items()}


@pytest.fixture(scope="module")
def model(reference):
    return load_reference_checkpoint(reference).eval()


@pytest.mark.parametrize("case", [0, 1])
@torch.no_grad()
def test_equals_the_official_network(golden, model, case) -> None:
    data = {name: torch.from_numpy(value) for name, value in golden("network_mit_b0").items()}
    images = data[f"image{case}"]
    features, attention = model.encoder(images)
    output = model(images)
    found = {
        "stage4_": features[3],
        "attention_logits": attention.unflatten(1, (2, 8)),
        "class_logits": output.class_logits,
        "seg_logits": output.seg_logits,
        "affinity": output.affinity,
        "cam": output.cam,
    } | {f"stage{i + 1}_mean": features[i].mean((2, 3)) for i in range(3)}
    for name, value in found.items():
        torch.testing.assert_close(value, data[f"{name}{case}"], atol=1e-4, rtol=0, msg=name)
    assert model.grid(*images.shape[-2:]) == tuple(output.cam.shape[-2:])


def test_multi_scale_cam_equals_the_official_one(golden, model) -> None:
    data = {name: torch.from_numpy(value) for name, value in golden("network_mit_b0").items()}
    cam, affinity = multi_scale_cam(model, data["image0"], scales=(1.0, 0.5, 1.5))
    torch.testing.assert_close(cam, data["multi_scale_cam0"], atol=1e-4, rtol=0)
    torch.testing.assert_close(affinity, data["multi_scale_affinity0"], atol=1e-4, rtol=0)


def test_reading_the_attention_does_not_change_the_features(model) -> None:
    images = torch.randn(1, 3, 48, 64)
    for fused, read in zip(model.encoder(images, attention=False)[0], model.encoder(images)[0], strict=True):
        torch.testing.assert_close(fused, read, atol=1e-5, rtol=1e-5)


def test_cam_pass_drops_no_paths_and_leaves_the_mode(model) -> None:
    trained = create_model("mit_nano", 3, drop_path_rate=0.9).train()
    images = torch.randn(2, 3, 64, 64)
    first, affinity = trained.activate(images, affinity=True)
    assert torch.equal(first, trained.activate(images)[0])
    assert trained.training
    assert trained.encoder.training
    assert not first.requires_grad
    assert not affinity.requires_grad


def test_affinity_is_symmetric_and_teaches_the_attention() -> None:
    network = create_model("mit_nano", 3)
    affinity = network(torch.randn(1, 3, 64, 64)).affinity
    torch.testing.assert_close(affinity, affinity.transpose(1, 2))
    affinity.mean().backward()
    assert network.encoder.stages[-1].blocks[-1].attention.query.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", MIX_TRANSFORMERS)
def test_every_size_has_its_grid(name) -> None:
    with torch.device("meta"):
        encoder = mix_transformer(name)
        features, attention = encoder(torch.empty(1, 3, 96, 64))
    grid = encoder.grid(96, 64)
    assert tuple(features[-1].shape[-2:]) == grid
    assert attention.shape == (1, encoder.attention_channels, grid.height * grid.width, grid.height * grid.width)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_poolings(pooling) -> None:
    network = create_model("mit_nano", 3, pooling=pooling).eval()
    images = torch.randn(1, 3, 64, 64)
    output = network(images)
    features = network.encoder(images, attention=False).features[-1]
    pooled = features.amax((2, 3)) if pooling == "max" else features.mean((2, 3))
    torch.testing.assert_close(output.class_logits, pooled @ network.classifier.weight.flatten(1).T)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backbone": "resnet50"}, "need a backbone of mit_nano, mit_b0"),
        ({"backbone": "mit_b0", "pooling": "median"}, "need pooling to be one of max, average"),
        ({"backbone": "mit_b0", "num_classes": 0}, "at least one foreground class"),
        ({"backbone": "mit_b0", "strides": [4, 2]}, "need four strides"),
        ({"backbone": "mit_b0", "pretrained": "nowhere.pth"}, "found none at nowhere.pth"),
    ],
)
def test_impossible_models_are_refused(settings, told) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        create_model(**settings)


@pytest.mark.parametrize("layout", ["safetensors", "pth", "official"])
def test_backbones_round_trip_through_files(tmp_path, reference, layout) -> None:
    source, target = mix_transformer("mit_b0"), mix_transformer("mit_b0")
    path = tmp_path / f"weights.{'safetensors' if layout == 'safetensors' else 'pth'}"
    if layout == "safetensors":
        save_file(source.state_dict(), path)
    elif layout == "pth":
        torch.save({"state_dict": source.state_dict()}, path)
    else:
        prefix = "module.encoder."
        encoder = {key.removeprefix(prefix): value for key, value in reference.items() if key.startswith(prefix)}
        torch.save(encoder | {"head.weight": torch.zeros(1000, 256)}, path)
        source = load_reference_checkpoint(reference).encoder
    load_backbone(target, str(path))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_weights_that_do_not_fit_are_named(tmp_path) -> None:
    weights = mix_transformer("mit_b0").state_dict()
    weights["stages.0.norm.weight"] = torch.zeros(5)
    weights["surplus"] = weights.pop("stages.3.norm.bias")
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 missing: stages.3.norm.bias; 1 not expected: surplus; 1 of another shape"):
        load_backbone(mix_transformer("mit_b0"), str(tmp_path / "weights.pth"))


def test_pickles_that_run_code_are_refused(tmp_path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"state_dict": Path("x")}, protocol=2))
    with pytest.raises(UserError, match=r"weights\.pth"):
        read_weights(path)
    torch.save({"model": Path("x")}, path)
    with pytest.raises(UserError, match=r"convert it: safetensors\.torch\.save_file"):
        read_weights(path)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0, 1.0)])
def test_impossible_scales_are_refused(scales) -> None:
    network = create_model("mit_nano", 2)
    for run in (multi_scale_cam, multi_scale_logits):
        with pytest.raises(UserError, match="need scales above 0"):
            run(network, torch.randn(1, 3, 64, 64), scales=scales)


@torch.no_grad()
def test_logits_are_the_maximum_over_mirror_and_scales() -> None:
    network = create_model("mit_nano", 2).eval()
    images = torch.randn(1, 3, 64, 80)
    plain = multi_scale_logits(network, images)
    assert plain.shape == (1, 3, 64, 80)
    both = multi_scale_logits(network, images, mirror=True)
    assert (both >= plain).all()
    torch.testing.assert_close(both, multi_scale_logits(network, images.flip(-1), mirror=True).flip(-1))


@torch.no_grad()
def test_bf16_autocast_stays_close() -> None:
    network, images = create_model("mit_nano", 3).eval(), torch.randn(2, 3, 64, 64)
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images)
    torch.testing.assert_close(rough.class_logits.float(), exact.class_logits, atol=0.1, rtol=0.1)
    torch.testing.assert_close(rough.affinity.float(), exact.affinity, atol=0.1, rtol=0.1)
