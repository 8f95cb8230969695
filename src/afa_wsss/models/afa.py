"""The network of AFA: one encoder, and three branches that read it (AFA, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.activation_passes import encode_in_parts
from afa_wsss.models.encoders.encoder import Attention, Encoder, Grid
from afa_wsss.models.heads.affinity_head import AffinityHead
from afa_wsss.models.heads.segformer_head import SegFormerHead
from afa_wsss.models.settings import ModelSettings
from afa_wsss.ops.cam import class_activation_map
from afa_wsss.types import AFAOutput


class AFA(nn.Module):
    """Class branch, affinity branch and segmentation branch on one transformer.

    Attributes:
        num_classes: Foreground classes, k; the segmentation branch has one more, the background.
    """

    def __init__(self, encoder: Encoder, num_classes: int, settings: ModelSettings) -> None:
        """Puts freshly initialized branches on ``encoder``.

        Args:
            encoder: The backbone.
            num_classes: Foreground classes.
            settings: Pooling, decoder and passes for maps; its backbone and weights are those of ``encoder``.

        Raises:
            UserError: For no foreground class.
        """
        super().__init__()
        if num_classes < 1:
            raise UserError(f"need at least one foreground class, got {num_classes}", arguments=("num_classes",))
        self.num_classes = num_classes
        self.encoder = encoder
        self.pooling = settings.pooling
        self.sharpness = settings.sharpness
        self.cam_in_training_mode = settings.cam_in_training_mode
        self.classifier = nn.Conv2d(encoder.widths[-1], num_classes, 1, bias=False)
        self.affinity_head = AffinityHead(encoder.attention_channels)
        self.segmentation_head = SegFormerHead(
            encoder.widths, num_classes + 1, width=settings.decoder_width, dropout=settings.dropout
        )

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
        else:
            with _evaluating(self.encoder):
                features, attention = encode_in_parts(self.encoder, views, attention=affinity)
        cam = class_activation_map(features[-1], self.classifier.weight)
        if attention is None:
            return cam, None
        return cam, self.affinity_head(Attention(*(part[: len(images)] for part in attention)))

    def segment(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c H4 W4"]:
        """The segmentation logits of ``forward`` alone: no affinity, which has n x n values."""
        logits: Tensor = self.segmentation_head(self.encoder(images, attention=False).features)
        return logits

    def forward_activates(self) -> bool:
        """Whether a forward pass, in the present mode, gives the very maps and affinity of ``activate``.

        It does where nothing in the encoder acts in training alone, as the encoder declares: no path or unit is dropped
        (``drop_path_rate`` 0), and no batch norm uses the statistics of the batch. In evaluation it always does.
        """
        if self.cam_in_training_mode and self.training:
            return False  # the decoder's batch norm is to count these passes too
        return not self.encoder.acts_in_training()

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels."""
        return self.encoder.grid(height, width)


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
