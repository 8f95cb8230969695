"""Networks from settings: what is refused, what is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.reference_network import reference_network, reference_weights

from afa_wsss.errors import UserError
from afa_wsss.models import AFA, ModelSettings, build_model, create_model
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.settings import pretrained_name


@pytest.mark.parametrize(
    ("settings", "message", "argument"),
    [
        ({"backbone": "mit_b9"}, "need a backbone of mit_nano, mit_b0", "backbone"),
        ({"backbone": "xcit_nano_12_p16_224"}, "need a model of timm with feature maps, or a plain vision", "backbone"),
        ({"pooling": "median"}, "need pooling to be one of max, average", "pooling"),
        ({"sharpness": 0.0}, "need sharpness above 0, got 0.0", "sharpness"),
        ({"decoder_width": 0}, "need a decoder_width of at least 1, got 0", "decoder_width"),
        ({"dropout": 1.0}, "need dropout of at least 0 and below 1, got 1.0", "dropout"),
        ({"drop_path_rate": -0.1}, "need drop_path_rate of at least 0 and below 1, got -0.1", "drop_path_rate"),
        ({"num_classes": 0}, "at least one foreground class", "num_classes"),
        ({"strides": [4, 2]}, "need four strides", "strides"),
        ({"backbone": "mit_nano", "strides": [2, 2, 2, 1]}, "need strides that begin with 4, the stem's", "strides"),
        ({"pretrained": "nowhere.pth"}, "found none at nowhere.pth", "pretrained"),
        ({"poling": "max"}, "need settings of backbone, pretrained, pooling, ", "poling"),
    ],
)
def test_impossible_models_are_refused(settings, message, argument) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        create_model(**{"backbone": "mit_b0", **settings})
    assert caught.value.arguments == (argument,)


def test_defaults_are_those_of_the_settings() -> None:
    with torch.device("meta"):
        network = AFA(create_encoder("mit_b1"), 20)
        other = create_model()
    assert [tuple(value.shape) for value in network.state_dict().values()] == [
        tuple(value.shape) for value in other.state_dict().values()
    ]
    assert network.segmentation_head.dropout.p == ModelSettings().dropout
    assert network.pooling == ModelSettings().pooling


@pytest.mark.parametrize("kind", [str, Path])
def test_weights_are_named_by_text_or_path(tmp_path, kind) -> None:
    source = create_model("mit_b0", 3)
    torch.save(source.encoder.state_dict(), tmp_path / "weights.pth")
    network = create_model("mit_b0", 3, pretrained=kind(tmp_path / "weights.pth"))
    assert torch.equal(network.encoder.stages[0].norm.weight, source.encoder.stages[0].norm.weight)
    assert pretrained_name(kind("weights.pth")) == "weights.pth"


def test_true_and_false_are_timms_for_default_and_no_weights() -> None:
    assert pretrained_name(True) == "default"
    assert pretrained_name(False) is None
    assert create_model("mit_b0", 3, pretrained=False).num_classes == 3
    with pytest.raises(UserError, match=r"need default, a path or None \(null\) as pretrained, got int"):
        pretrained_name(1)


def test_an_official_checkpoint_of_the_hub_is_loaded_with_its_branches(tmp_path, monkeypatch) -> None:
    torch.save(reference_weights(), tmp_path / "official.pth")
    monkeypatch.setattr("afa_wsss.models.weights.hub.download", lambda name: tmp_path / "official.pth")
    settings = ModelSettings(backbone="mit_b0", pretrained="hf-hub:me/afa/official.pth")
    found = build_model(settings, 20).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in reference_network().state_dict().items())


def test_an_official_checkpoint_is_loaded_with_its_branches(tmp_path, caplog) -> None:
    torch.save(reference_weights(), tmp_path / "official.pth")
    settings = ModelSettings(backbone="mit_b0", pretrained=str(tmp_path / "official.pth"))
    with caplog.at_level("INFO"):
        found = build_model(settings, 20).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in reference_network().state_dict().items())
    assert "backbone and heads from" in caplog.text
    random = build_model(settings, 20, pretrained=False).state_dict()
    assert not torch.equal(random["classifier.weight"], found["classifier.weight"])


def test_an_official_checkpoint_of_other_classes_is_refused(tmp_path) -> None:
    torch.save(reference_weights(), tmp_path / "official.pth")
    with pytest.raises(
        UserError, match=r"need an official AFA checkpoint of the data's 3 classes, .* has 20"
    ) as caught:
        build_model(ModelSettings(backbone="mit_b0", pretrained=str(tmp_path / "official.pth")), 3)
    assert caught.value.arguments == ("pretrained",)
