"""Backbones by their names."""

from __future__ import annotations

import re

import pytest
import torch
from tests.timm_models import DEIT

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.mit_nano import MitNano
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS, MixTransformer
from afa_wsss.models.encoders.timm_features import TimmFeatureEncoder
from afa_wsss.models.encoders.vision_transformer import VisionTransformerEncoder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mit_nano", MitNano),
        *((name, MixTransformer) for name in MIX_TRANSFORMERS),
        (DEIT, VisionTransformerEncoder),
        ("resnet18", TimmFeatureEncoder),
    ],
)
def test_a_name_has_its_kind_of_backbone(name, kind):
    with torch.device("meta" if name.startswith("mit") else "cpu"):
        assert type(create_encoder(name)) is kind


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deit_smal_patch16_224", "got 'deit_smal_patch16_224', did you mean deit_small_patch16_224 or "),
        ("vit_small_patch16_224.nobody", "got 'vit_small_patch16_224.nobody', did you mean vit_small_patch16_224"),
        ("mit_b9", "need a backbone of mit_nano, mit_b0"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        create_encoder(name)
    assert (caught.value.kind, caught.value.arguments) == ("unknown", ("backbone",))


@pytest.mark.parametrize("name", [DEIT, "resnet18"])
def test_strides_are_those_of_a_mix_transformer(name):
    with pytest.raises(UserError, match=re.escape(f"need strides=None (null) for {name}")) as caught:
        create_encoder(name, strides=[4, 2, 2, 1])
    assert caught.value.arguments == ("strides",)
