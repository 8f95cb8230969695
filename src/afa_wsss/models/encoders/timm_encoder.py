"""What all backbones of timm share: normalization of images, norms, parts that act in training, default weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.models.encoders.encoder import NORMS, Encoder, cannot_recompute
from afa_wsss.models.encoders.kept_results import kept_bytes
from afa_wsss.models.encoders.training_parts import acts_in_training
from afa_wsss.models.weights.hub import HUB_PREFIX
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD

TIMM_NORMS = ("RmsNorm", "RmsNorm2d", "SimpleNorm", "SimpleNorm2d")
"""timm's own classes of norms of tokens and of cells; older versions lack some."""


class TimmEncoder(Encoder):
    """A backbone of timm.

    Images come normalized for ImageNet; ``normalized`` converts them where the weights expect another normalization.

    Attributes:
        config: timm's ``pretrained_cfg``: normalization, and where its weights are.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """``config`` is the ``pretrained_cfg`` of timm's model."""
        super().__init__()
        self.config = config
        mean, std = (255 * torch.tensor(config[key]) for key in ("mean", "std"))
        imagenet_mean, imagenet_std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (imagenet_std / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((imagenet_mean - mean) / std).view(3, 1, 1), persistent=False)

    def normalized(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """Images normalized for ImageNet, as timm normalizes them for this model."""
        return images * self.scale + self.shift

    @property
    def normalization(self) -> str:
        """How, and for which weights of timm's: those of a file may expect another."""
        mean, std = (", ".join(f"{value:.3f}" for value in self.config[key]) for key in ("mean", "std"))
        of = ".".join(part for part in (self.config.get("architecture"), self.config.get("tag")) if part)
        return f"with mean {mean} and std {std}, as for {of}; where the file needs another, choose that tag of timm's"

    def norms(self) -> list[nn.Parameter]:
        """Weights and biases of norms of tokens and of cells: layer norms and RMS norms, torch's and timm's own.

        Batch norms and group norms are not among them: they are trained with the body, at its rate.
        """
        from timm.layers import norm

        kinds = (*NORMS, *(getattr(norm, name) for name in TIMM_NORMS if hasattr(norm, name)))
        return [
            parameter for module in self.modules() if isinstance(module, kinds) for parameter in module.parameters()
        ]

    @property
    def timm_model(self) -> Any:
        """The model of timm."""
        raise NotImplementedError

    def checkpoint_gradients(self) -> None:
        """Uses timm's gradient checkpointing: of each block, or of each stage.

        Raises:
            UserError: For a model without, or with one that feature maps go past.
        """
        before = kept_bytes(self)
        try:
            self.timm_model.set_grad_checkpointing(True)
        except (AttributeError, AssertionError, NotImplementedError) as error:
            raise cannot_recompute(str(self.config["architecture"])) from error
        if kept_bytes(self) >= before:
            raise cannot_recompute(str(self.config["architecture"]))

    def layers(self) -> list[list[nn.Parameter]]:
        """The parameters of timm's model as timm groups them: embedding or stem, then block by block."""
        from timm.models import group_parameters

        if not hasattr(self.timm_model, "group_matcher"):
            return []
        matcher = self.timm_model.group_matcher(coarse=False)
        grouped = group_parameters(self.timm_model, matcher, return_values=True)
        return [list(grouped[index]) for index in sorted(grouped)]

    def acts_in_training(self) -> bool:
        """Whether a part in training mode drops something at random or normalizes by the batch."""
        return any(part.training and acts_in_training(part) for part in self.modules())

    @property
    def default_weights(self) -> str | None:
        """Where timm keeps the weights that go with the name; None where it keeps none on the hub."""
        repository, file = self.config.get("hf_hub_id"), self.config.get("hf_hub_filename")
        if not repository:
            return None
        return f"{HUB_PREFIX}{repository}" + (f"/{file}" if file else "")
