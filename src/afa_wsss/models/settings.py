"""Settings of the network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from afa_wsss.errors import UserError, check_above_0

POOLINGS = ("max", "average", "log_sum_exp")
"""How class logits of the photo are pooled from its tokens; see ``AFA.classify``."""


@dataclass(frozen=True)
class ModelSettings:
    """Backbone, class branch and decoder.

    Attributes:
        backbone: ``mit_b0`` to ``mit_b5``, ``mit_nano``, any model of timm that gives feature maps (ViT, ConvNeXt,
            EfficientNet, ...), or a callable without arguments that returns an ``Encoder``: your own class with its
            settings bound.
        pretrained: Weights to start from: ``"default"`` for those that go with the backbone's name (the hub's, or the
            package's own for ``mit_nano``), ``"nano"``, ``"hf-hub:owner/repository"``, or the path of a
            ``.safetensors`` or ``.pth`` file; None for random weights. Of a network that this package trained, backbone
            and affinity branch are loaded; of an official AFA checkpoint, all branches.
        pooling: ``max`` (the paper's), ``average`` or ``log_sum_exp``; see ``AFA.classify``.
        sharpness: The r of log-sum-exp pooling, above 0.
        decoder_width: Channels of the segmentation branch.
        dropout: Dropout rate before the last layer of the segmentation branch.
        drop_path_rate: Drop path rate at the backbone's last block.
        strides: Strides of the four stages of a mix transformer; None for the backbone's own ([4, 2, 2, 1], a grid at
            1/16).
        cam_in_training_mode: Whether the passes that make class activation maps in training run in training mode, as in
            the official code: they drop paths, and they update the running statistics of the decoder's batch norm.
        gradient_checkpointing: Whether a training step keeps the inputs of the backbone's blocks alone, and computes
            them again in the backward pass: less memory, the same gradients, about a third more time.
    """

    backbone: Any = "mit_b1"
    pretrained: str | None = "default"
    pooling: str = "max"
    sharpness: float = 1.0
    decoder_width: int = 256
    dropout: float = 0.1
    drop_path_rate: float = 0.1
    strides: list[int] | None = None
    cam_in_training_mode: bool = False
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For an unknown pooling, and values out of range.
        """
        object.__setattr__(self, "pretrained", pretrained_name(self.pretrained))
        if self.pooling not in POOLINGS:
            raise UserError(
                f"need pooling to be one of {', '.join(POOLINGS)}; got {self.pooling!r}", arguments=("pooling",)
            )
        check_above_0({"sharpness": self.sharpness})
        if self.decoder_width < 1:
            raise UserError(
                f"need a decoder_width of at least 1, got {self.decoder_width}", arguments=("decoder_width",)
            )
        for name in ("dropout", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"need {name} of at least 0 and below 1, got {getattr(self, name)}", arguments=(name,))


def pretrained_name(pretrained: Any) -> str | None:
    """``pretrained`` as text: paths may be objects, and True and False are timm's for the default weights and none.

    Raises:
        UserError: For anything else.
    """
    if isinstance(pretrained, bool):
        return "default" if pretrained else None
    if pretrained is None or isinstance(pretrained, str):
        return pretrained
    if isinstance(pretrained, os.PathLike):
        return str(os.fspath(pretrained))
    raise UserError(
        f"need default, a path or None (null) as pretrained, got {type(pretrained).__name__}", arguments=("pretrained",)
    )
