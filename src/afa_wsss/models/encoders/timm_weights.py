"""Weight files for timm's models with feature maps: timm's own, those timm translates, and efficientnet-pytorch's."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress

from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.timm_body import UNFIT, on_meta
from afa_wsss.models.weights.layouts import StateDict, Translated
from afa_wsss.models.weights.timm_layouts import (
    EFFICIENTNET_PYTORCH,
    from_efficientnet_pytorch,
    is_efficientnet_pytorch,
)

_TRANSLATORS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
"""Names in timm's modules of the function that translates the files of a model's authors to timm's layout."""


def in_timms_names(architecture: str, weights: StateDict, kept: Collection[str]) -> Translated:
    """The tensors of a backbone from a file of the whole model, without its classifier and last norm.

    Args:
        architecture: timm's name of the model, without the tag of its weights.
        weights: Named tensors in timm's layout, in one that timm translates (ConvNeXt's and Swin's authors have their
            own), or in that of efficientnet-pytorch.
        kept: timm's names of the backbone's tensors. Unknown tensors keep their names, so that strict loading reports
            them.

    Raises:
        UserError: For weights of efficientnet-pytorch that do not fit the model.
    """
    model = on_meta(architecture)
    shapes = {} if model is None else {name: value.shape for name, value in model.state_dict().items()}
    title = "timm"
    if is_efficientnet_pytorch(weights):
        _check_padding(architecture)
        weights, title = from_efficientnet_pytorch(weights, shapes), EFFICIENTNET_PYTORCH
    elif model is not None:
        weights = _translated_by_timm(model, weights)
    left_out = shapes.keys() - set(kept)
    return Translated({name: value for name, value in weights.items() if name not in left_out}, title)


def _check_padding(architecture: str) -> None:
    if not architecture.startswith("tf_"):
        raise UserError(
            f"need a backbone with TensorFlow's padding for weights of {EFFICIENTNET_PYTORCH}, got "
            f"{architecture}; choose tf_{architecture}",
            arguments=("backbone",),
        )


def _translated_by_timm(model: nn.Module, weights: StateDict) -> Mapping[str, Tensor]:
    """The tensors as timm translates a file that it downloads; unchanged where it does not know the names."""
    module = sys.modules[type(model).__module__]
    for translate in (getattr(module, name) for name in _TRANSLATORS if hasattr(module, name)):
        takes_model = len(inspect.signature(translate).parameters) > 1
        with suppress(*UNFIT):
            translated: Mapping[str, Tensor] = translate(dict(weights), *([model] if takes_model else []))
            return translated
    return weights
