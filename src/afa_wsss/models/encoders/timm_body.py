"""Feature maps of timm's models: which a model has, how timm builds it for them, and what image sizes it takes.

Everything is tried on torch's meta device, which computes only shapes: a model of 300 million parameters is examined in
about a second, and built once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.dilated_depthwise import speed_up_dilated_depthwise

STRIDES = (4, 8, 16, 32)
"""Strides of the feature maps that are taken, before the last stage is dilated."""

GRID_STRIDE = 16
"""Stride of the token grid: that of the last stage where timm can dilate it."""

UNFIT = (AttributeError, AssertionError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""Errors that timm's models raise for an argument or an image size that they do not take."""


class TimmBody(NamedTuple):
    """A model of timm without its classifier, and how its feature maps are obtained.

    Attributes:
        model: The model; its tensors have timm's names.
        taken: Which of its intermediate results are the feature maps; None where the model returns them itself.
        channels: Channels of each feature map, finest first.
        config: timm's ``pretrained_cfg``: normalization, and where its weights are.
        multiple: Images have to be padded to multiples of this many pixels.
    """

    model: Any
    taken: tuple[int, ...] | None
    channels: tuple[int, ...]
    config: dict[str, Any]
    multiple: int


def feature_maps(
    model: Any, taken: tuple[int, ...] | None, images: Float[Tensor, "b 3 H W"]
) -> list[Float[Tensor, "b _ _ _"]]:
    """The four feature maps of a ``TimmBody``, channels first, without the model's last norm."""
    if taken is None:
        return list(model(images))
    maps = model.forward_intermediates(
        images, indices=list(taken), norm=False, output_fmt="NCHW", intermediates_only=True
    )
    return list(maps)


def has_feature_maps(name: str) -> bool:
    """Whether timm's model ``name`` has feature maps at strides 4, 8, 16 and 32; a plain ViT has none."""
    return _stages(name) is not None


def build_body(name: str, *, drop_path_rate: float) -> TimmBody:
    """Builds timm's model ``name`` with random weights, its last stage dilated where timm can.

    Args:
        name: timm's name of the model, as ``tf_efficientnet_lite0`` or ``convnext_tiny.fb_in22k``.
        drop_path_rate: Drop path rate at the last block, for models that drop paths.

    Raises:
        UserError: For a model without feature maps at ``STRIDES``, and for one that takes images of one size only.
    """
    import timm

    stages = _stages(name)
    if stages is None:
        raise _unfit(name, "has none at these strides")
    keywords = _accepted(name, {"out_indices": stages}, drop_path_rate)
    multiple = None if keywords is None else _smallest_multiple(name, keywords)
    if keywords is None or multiple is None:
        raise _unfit(name, "takes images of one size only or has maps of other sizes")
    network = timm.create_model(name, features_only=True, **keywords)
    speed_up_dilated_depthwise(network)
    return _body(network, keywords, multiple)


def _unfit(name: str, reason: str) -> UserError:
    return UserError(
        f"need a model of timm with feature maps at strides 4, 8, 16 and 32 of images of any size, {name} {reason}; "
        "choose a ConvNeXt, EfficientNet, ResNet or Swin, as convnext_tiny, a plain vision transformer, as "
        f"deit_small_patch16_224, or a mit_b*{or_newer()}",
        arguments=("backbone",),
    )


def _body(network: Any, keywords: dict[str, Any], multiple: int) -> TimmBody:
    """Takes timm's model out of its wrapper where it is in one, so that its tensors keep timm's own names."""
    wrapped = "feature_cls" in keywords
    return TimmBody(
        model=network.model if wrapped else network,
        taken=tuple(network.out_indices) if wrapped else None,
        channels=tuple(int(channels) for channels in network.feature_info.channels()),
        config=dict(network.pretrained_cfg),
        multiple=multiple,
    )


def or_newer() -> str:
    """The end of an advice on models of timm: some are only taken as newer versions build them."""
    import timm

    return f", or a newer timm than {timm.__version__}"


def on_meta(name: str, **keywords: Any) -> Any | None:
    """The model ``name`` without memory for its tensors; None where timm cannot build it with ``keywords``."""
    import timm

    try:
        with torch.device("meta"):
            return timm.create_model(name, **keywords)
    except UNFIT:
        return None


def _stages(name: str) -> tuple[int, ...] | None:
    """Which of the model's feature maps have ``STRIDES``; None where one is missing."""
    network = on_meta(name, features_only=True)
    found = [] if network is None else [stage["reduction"] for stage in network.feature_info.info]
    return tuple(found.index(stride) for stride in STRIDES) if set(STRIDES) <= set(found) else None


def _accepted(name: str, keywords: dict[str, Any], drop_path_rate: float) -> dict[str, Any] | None:
    """``keywords`` and those of our options that this model takes; None where it gives no feature maps with any."""
    # MobileNetV3 can be dilated only in timm's own feature class; all others return intermediate results.
    getter, dilated = {"feature_cls": "getter"}, {"output_stride": GRID_STRIDE}
    ways = [keywords | way for way in (getter | dilated, dilated, getter)]
    chosen = next((way for way in ways if on_meta(name, features_only=True, **way) is not None), None)
    if chosen is None:
        return None
    options: tuple[dict[str, Any], ...] = ({"drop_path_rate": drop_path_rate}, {"strict_img_size": False})
    for option in options:
        if on_meta(name, features_only=True, **chosen, **option) is not None:
            chosen |= option
    return chosen


def _smallest_multiple(name: str, keywords: dict[str, Any]) -> int | None:
    """The smallest side whose multiples have exact feature maps: the largest stride, or more where windows need it.

    None where neither the stride times 1, 2, 4 or 8 nor the side that the model was trained with is one.
    """
    network = on_meta(name, features_only=True, **keywords)
    if network is None:
        return None
    strides = network.feature_info.reduction()
    body = _body(network.eval(), keywords, max(strides))
    sides = {max(strides) * times for times in (1, 2, 4, 8)} | {int(body.config["input_size"][-1])}
    fitting = (side for side in sorted(sides) if side % max(strides) == 0 and _maps_fit(body, strides, side))
    return next(fitting, None)


@torch.no_grad()
def _maps_fit(body: TimmBody, strides: list[int], side: int) -> bool:
    """Whether an image of ``side`` x 2 ``side`` pixels has, for each stride, a map of its size over the stride."""
    try:
        maps = feature_maps(body.model, body.taken, torch.empty(1, 3, side, 2 * side, device="meta"))
    except UNFIT:
        return False
    wanted = [(1, width, side // step, 2 * side // step) for width, step in zip(body.channels, strides, strict=True)]
    return [tuple(one.shape) for one in maps] == wanted
