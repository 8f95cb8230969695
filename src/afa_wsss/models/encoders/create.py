"""Every backbone by its name: mix transformers, and the models of timm."""

from __future__ import annotations

from collections.abc import Sequence

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.encoders.mit_nano import mit_nano
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS, mix_transformer
from afa_wsss.models.encoders.timm_body import has_feature_maps
from afa_wsss.models.encoders.timm_features import create_timm_features
from afa_wsss.models.encoders.vision_transformer import create_vision_transformer, is_timm_model, similar_names
from afa_wsss.models.settings import ModelSettings

NANO = "mit_nano"


def create_encoder(
    name: str, *, drop_path_rate: float = ModelSettings.drop_path_rate, strides: Sequence[int] | None = None
) -> Encoder:
    """Builds a backbone with random weights.

    Args:
        name: ``mit_nano``, one of ``MIX_TRANSFORMERS``, or a model of timm: a plain vision transformer, whose own
            attention is read, or any other with feature maps, which gets two transformer blocks on top.
        drop_path_rate: Drop path rate at the last block.
        strides: Strides of the four stages of a mix transformer; None for its own.

    Raises:
        UserError: For an unknown name, a model of timm without feature maps, and strides that do not fit.
    """
    if name == NANO:
        return mit_nano(drop_path_rate=drop_path_rate, strides=strides)
    if name in MIX_TRANSFORMERS:
        return mix_transformer(name, drop_path_rate=drop_path_rate, strides=strides)
    if not is_timm_model(name):
        alike = similar_names(name)
        raise UserError(
            f"need a backbone of {NANO}, {', '.join(MIX_TRANSFORMERS)}, or a model of timm as deit_small_patch16_224 "
            f"or tf_efficientnet_lite0; got {name!r}" + (f", did you mean {' or '.join(alike)}?" if alike else ""),
            kind="unknown",
            arguments=("backbone",),
        )
    if strides is not None:
        raise UserError(
            f"need strides=None (null) for {name}, whose strides are fixed; got {list(strides)}", arguments=("strides",)
        )
    if has_feature_maps(name):
        return create_timm_features(name, drop_path_rate=drop_path_rate)
    return create_vision_transformer(name, drop_path_rate=drop_path_rate)
