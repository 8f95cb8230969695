"""Every backbone by its name: mix transformers, and the plain vision transformers of timm."""

from __future__ import annotations

from collections.abc import Sequence

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.encoder import Encoder
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS, mix_transformer
from afa_wsss.models.encoders.vision_transformer import create_vision_transformer, is_timm_model, similar_names


def create_encoder(name: str, *, drop_path_rate: float = 0.1, strides: Sequence[int] | None = None) -> Encoder:
    """Builds a backbone with random weights.

    Args:
        name: One of ``MIX_TRANSFORMERS``, or a vision transformer of timm.
        drop_path_rate: At the last block.
        strides: Of the four stages of a mix transformer; None for its own.

    Raises:
        UserError: For a name that neither has, a model of timm that cannot be read, and strides that do not fit.
    """
    if name in MIX_TRANSFORMERS:
        return mix_transformer(name, drop_path_rate=drop_path_rate, strides=strides)
    if not is_timm_model(name):
        alike = similar_names(name)
        raise UserError(
            f"need a backbone of {', '.join(MIX_TRANSFORMERS)}, or a vision transformer of timm as "
            f"deit_small_patch16_224; got {name!r}" + (f", did you mean {' or '.join(alike)}?" if alike else "")
        )
    if strides is not None:
        raise UserError(f"need model.strides=null for {name}, whose patches are fixed; got {list(strides)}")
    return create_vision_transformer(name, drop_path_rate=drop_path_rate)
