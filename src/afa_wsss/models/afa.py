"""The network of AFA: one encoder, and three branches that read it (AFA, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.encoder import Attention, Encoder, Grid
from afa_wsss.models.heads.affinity_head import AffinityHead
from afa_wsss.models.heads.segformer_head import SegFormerHead
from afa_wsss.ops.cam import class_activation_map
from afa_wsss.types import AFAOutput

POOLINGS = ("max", "average", "log_sum_exp")
"""How the tokens' evidence becomes that of the photo; see ``AFA.classify``."""

_PIXELS_A_PASS = 1 << 19
"""A pass without gradient takes so many on a CPU: its activations then lie in memory just used. Asking the system for
new pages costs as much as a quarter of the arithmetic."""


class AFA(nn.Module):
    """Class branch, affinity branch and segmentation branch on one transformer.

    Attributes:
        num_classes: Foreground classes, k; the segmentation branch has one more, the background.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        pooling: str = "max",
        sharpness: float = 1.0,
        decoder_width: int = 256,
        dropout: float = 0.1,
        cam_in_training_mode: bool = False,
    ) -> None:
        """Puts freshly initialised branches on ``encoder``; see ``create_model`` for the arguments."""
        super().__init__()
        if num_classes < 1:
            raise UserError(f"need at least one foreground class, got num_classes={num_classes}")
        if pooling not in POOLINGS:
            raise UserError(f"need pooling to be one of {', '.join(POOLINGS)}; got {pooling!r}")
        if not sharpness > 0:
            raise UserError(f"need a sharpness of pooling above 0, got {sharpness}")
        self.num_classes = num_classes
        self.encoder = encoder
        self.pooling = pooling
        self.sharpness = sharpness
        self.cam_in_training_mode = cam_in_training_mode
        self.classifier = nn.Conv2d(encoder.widths[-1], num_classes, 1, bias=False)
        self.affinity_head = AffinityHead(encoder.attention_channels)
        self.segmentation_head = SegFormerHead(encoder.widths, num_classes + 1, width=decoder_width, dropout=dropout)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> AFAOutput:
        """Everything that training compares with its targets; ``images`` are normalised."""
        features, attention = self.encoder(images, attention=True)
        return AFAOutput(
            class_logits=self.classify(features[-1]),
            seg_logits=self.segmentation_head(features),
            affinity=self.affinity_head(attention),
            cam=class_activation_map(features[-1].detach(), self.classifier.weight.detach()),
        )

    def classify(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b k"]:
        """Class logits of the photo from the last features.

        ``max`` takes each channel's maximum, then the class weights: maps mark the most telling part. ``average`` takes
        the mean, and maps grow past the object. ``log_sum_exp`` pools the tokens' class logits in between (Pinheiro and
        Collobert, CVPR 2015): (1 / r) log mean exp(r x), where the sharpness r leads from average (0) to maximum.
        """
        if self.pooling == "log_sum_exp":
            logits: Tensor = self.classifier(features).float().flatten(2) * self.sharpness
            return (logits.logsumexp(dim=2) - math.log(logits.shape[2])) / self.sharpness
        pooled = features.amax(dim=(2, 3)) if self.pooling == "max" else features.mean(dim=(2, 3))
        pooled_logits: Tensor = self.classifier(pooled[..., None, None]).flatten(1)
        return pooled_logits

    @torch.no_grad()
    def activate(
        self, images: Float[Tensor, "b 3 H W"], *, affinity: bool = False, mirror: bool = False
    ) -> tuple[Float[Tensor, "views k h w"], Float[Tensor, "b n n"] | None]:
        """The class activation maps, and the affinity where asked: no decoder, no gradient, no dropped paths.

        With ``mirror`` the maps of the mirror images follow those of the images, from one pass: 2 b in all; the
        affinity is that of the images alone. With ``cam_in_training_mode`` a network in training drops paths here too,
        and its decoder runs along.
        """
        views = torch.cat([images, images.flip(-1)]) if mirror else images
        if self.cam_in_training_mode and self.training:
            features, attention = self.encoder(views, attention=affinity)
            self.segmentation_head(features)  # for the running statistics of its batch norm alone
            last = features[-1]
        else:
            with _evaluating(self.encoder):
                last, attention = self._last_features(views, attention=affinity)
        cam = class_activation_map(last, self.classifier.weight)
        if attention is None:
            return cam, None
        return cam, self.affinity_head(Attention(*(part[: len(images)] for part in attention)))

    def _last_features(self, views: Tensor, *, attention: bool) -> tuple[Tensor, Attention | None]:
        """What the encoder, in evaluation mode, gives last, and its queries and keys."""
        at_once = max(1, _PIXELS_A_PASS // views[0, 0].numel()) if views.device.type == "cpu" else len(views)
        passes = [self.encoder(part, attention=attention) for part in torch.split(views, at_once)]
        last = torch.cat([one.features[-1] for one in passes])
        read = [one.attention for one in passes if one.attention is not None]
        return last, Attention(*(torch.cat(parts) for parts in zip(*read, strict=True))) if read else None

    def segment(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c H4 W4"]:
        """The segmentation logits of ``forward`` alone: no affinity, which has n x n values."""
        logits: Tensor = self.segmentation_head(self.encoder(images, attention=False).features)
        return logits

    def forward_activates(self) -> bool:
        """Whether a forward pass, in the present mode, has the very maps and affinity of ``activate``.

        It does where nothing in the encoder acts in training alone: no path or unit is dropped (``drop_path_rate`` 0),
        and no batch norm goes by the batch at hand, as one does in the stem of ``mit_nano``. In evaluation it always
        does.
        """
        if self.cam_in_training_mode and self.training:
            return False  # the decoder's batch norm is to count these passes too
        return not any(part.training and _acts_in_training(part) for part in self.encoder.modules())

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels."""
        return self.encoder.grid(height, width)


_RATES = ("p", "rate", "drop_prob", "prob")
"""What parts that drop something call their rate, here, in torch and in timm."""


def _acts_in_training(part: nn.Module) -> bool:
    """Whether training mode changes what this part, without its children, makes of its input."""
    return isinstance(part, nn.modules.batchnorm._NormBase) or any(getattr(part, name, 0) for name in _RATES)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; parts that were frozen in it before stay so afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def create_model(
    backbone: str = "mit_b1",
    num_classes: int = 20,
    *,
    pretrained: str | None = None,
    pooling: str = "max",
    sharpness: float = 1.0,
    decoder_width: int = 256,
    dropout: float = 0.1,
    drop_path_rate: float = 0.1,
    strides: Sequence[int] | None = None,
    cam_in_training_mode: bool = False,
) -> AFA:
    """Builds the network.

    Args:
        backbone: ``mit_b0`` to ``mit_b5``, ``mit_nano``, or a plain vision transformer of timm (ViT, DeiT, DINOv2,
            DINOv3, EVA-02), as ``deit_small_patch16_224``.
        num_classes: Foreground classes.
        pretrained: Weights of the backbone: ``"default"`` for those that go with its name (the hub's, or the package's
            own for ``mit_nano``), ``"nano"``, ``"hf-hub:owner/repository"``, or a path of a ``.safetensors`` or
            ``.pth`` file; None for random weights. With the backbone of an AFA network comes its affinity head, which
            knows no classes.
        pooling: ``"max"`` (the official choice), ``"average"`` or ``"log_sum_exp"``; see ``AFA.classify``.
        sharpness: Of log-sum-exp pooling, r.
        decoder_width: Channels of the segmentation branch.
        dropout: Rate before its last layer.
        drop_path_rate: Rate at the backbone's last block.
        strides: Of the four stages of a mix transformer; None for the backbone's own ([4, 2, 2, 1], a grid at 1/16).
        cam_in_training_mode: Whether the passes that make class activation maps for training are passes of training
            themselves, as in the official code: paths are dropped in them, and the decoder's batch norm counts them.

    Raises:
        UserError: For an unknown backbone or pooling, and for weights that do not fit.
    """
    model = AFA(
        create_encoder(backbone, drop_path_rate=drop_path_rate, strides=strides),
        num_classes,
        pooling=pooling,
        sharpness=sharpness,
        decoder_width=decoder_width,
        dropout=dropout,
        cam_in_training_mode=cam_in_training_mode,
    )
    if pretrained is not None:
        from afa_wsss.models.weights.files import load_backbone

        load_backbone(model.encoder, pretrained, affinity_head=model.affinity_head)
    return model
