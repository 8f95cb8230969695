"""The network of AFA: one encoder, and three branches on top (AFA, figure 2)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.activation_passes import encode_in_parts, encoder_passes, joined_attention
from afa_wsss.models.encoders.encoder import Attention, Encoder, Grid
from afa_wsss.models.encoders.training_parts import evaluating
from afa_wsss.models.heads.affinity_head import AffinityHead
from afa_wsss.models.heads.segformer_head import SegFormerHead
from afa_wsss.models.settings import ModelSettings
from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.cam import class_activation_map
from afa_wsss.types import AFAOutput, View


class AFA(nn.Module):
    """Class branch, affinity branch and segmentation branch on one transformer.

    Attributes:
        num_classes: Foreground classes, k; the segmentation branch has one more, the background.
    """

    def __init__(self, encoder: Encoder, num_classes: int, settings: ModelSettings | None = None) -> None:
        """Puts freshly initialized branches on ``encoder``.

        Args:
            encoder: The backbone.
            num_classes: Foreground classes.
            settings: Pooling, decoder, and mode of the passes for activation maps; None for the defaults. Its backbone
                and weights are not used: ``encoder`` is taken as it is.

        Raises:
            UserError: For no foreground class.
        """
        super().__init__()
        if num_classes < 1:
            raise UserError(f"need at least one foreground class, got {num_classes}", arguments=("num_classes",))
        settings = settings or ModelSettings()
        self.num_classes = num_classes
        self.encoder = encoder
        self.pooling = settings.pooling
        self.sharpness = settings.sharpness
        self.cam_in_training_mode = settings.cam_in_training_mode
        self.classifier = nn.Conv2d(encoder.widths[-1], num_classes, 1, bias=False)
        self.affinity_head = AffinityHead(encoder.attention_channels, start=encoder.affinity_start)
        self.segmentation_head = SegFormerHead(
            encoder.widths, num_classes + 1, width=settings.decoder_width, dropout=settings.dropout
        )

    def forward(self, images: Float[Tensor, "b 3 H W"], *, decoded: bool = True) -> AFAOutput:
        """All outputs that training compares with targets.

        Args:
            images: Normalized for ImageNet.
            decoded: Whether segmentation logits are wanted. With ``cam_in_training_mode`` they are made all the same.
        """
        decoded = decoded or self.cam_in_training_mode
        features, attention = self.encoder(images, attention=True)
        return AFAOutput(
            class_logits=self.classify(features[-1]),
            seg_logits=self.segmentation_head(features) if decoded else None,
            affinity=self.affinity_head.vectors(attention),
            cam=class_activation_map(features[-1], self.classifier.weight),
            features=features[-1],
        )

    def classify(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b k"]:
        """Class logits of the photo from the last features.

        ``max`` applies the class weights to each channel's maximum: maps mark the most discriminative part. ``average``
        applies them to the mean: maps grow past the object. ``log_sum_exp`` lies in between (Pinheiro and Collobert,
        CVPR 2015): it pools the class logits x of the tokens to (1 / r) log mean exp(r x), which goes from the average
        (sharpness r near 0) to the maximum (r large).
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
    ) -> tuple[Float[Tensor, "views k h w"], TokenAffinity | None]:
        """Class activation maps and affinity without decoder, gradient or dropped paths.

        With ``cam_in_training_mode``, a network in training mode drops paths here too, and its decoder runs as well.

        Args:
            images: Normalized.
            affinity: Whether the affinity is wanted.
            mirror: Whether to compute the maps of the mirrored images too, in the same pass.

        Returns:
            The maps before ReLU, with ``mirror`` 2 b of them, those of the mirrored images last; and the vectors that
            the affinity of the images is made of, None unless asked for.
        """
        views = torch.cat([images, images.flip(-1)]) if mirror else images
        if self.cam_in_training_mode and self.training:
            features, attention = self.encoder(views, attention=affinity)
            self.segmentation_head(features)  # only to update the running statistics of its batch norm
        else:
            with evaluating(self.encoder):
                features, attention = encode_in_parts(self.encoder, views, attention=affinity)
        cam = class_activation_map(features[-1], self.classifier.weight)
        if attention is None:
            return cam, None
        return cam, self.affinity_head.vectors(Attention(*(part[: len(images)] for part in attention))).detach()

    @torch.no_grad()
    def view(self, images: Float[Tensor, "b 3 H W"], *, decoded: int = 0, paired: int = 0) -> View:
        """All branches on one pass of the encoder, in the mode that the network is in, without gradient.

        Decoder and affinity are left out where they are not wanted; the other branches cost next to nothing.

        Args:
            images: Normalized.
            decoded: Segmentation logits are wanted of this many images, from the first on.
            paired: The affinity is wanted of this many images, from the first on.
        """
        classes, cams, decodings, attentions, left = [], [], [], [], decoded
        for features, attention in encoder_passes(self.encoder, images, attention=paired > 0):
            classes.append(self.classify(features[-1]))
            cams.append(class_activation_map(features[-1], self.classifier.weight))
            attentions.append(attention)
            if left > 0:
                decodings.append(self.segmentation_head([maps[:left] for maps in features]))
            left -= len(features[-1])
        read = joined_attention(attentions)
        pairs = None if read is None else self.affinity_head.vectors(Attention(*(part[:paired] for part in read)))
        return View(torch.cat(classes), torch.cat(cams), torch.cat(decodings) if decodings else None, pairs)

    def segment(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c H4 W4"]:
        """The segmentation logits of ``forward`` alone."""
        logits: Tensor = self.segmentation_head(self.encoder(images, attention=False).features)
        return logits

    def forward_activates(self) -> bool:
        """Whether a forward pass in the current mode gives the same maps and affinity as ``activate``.

        It does in evaluation mode, and in training mode where the encoder declares that this changes nothing: no path
        is dropped (``drop_path_rate`` 0), and no batch norm uses the statistics of the batch.
        """
        if self.cam_in_training_mode and self.training:
            return False  # the pass of ``activate`` has to update the decoder's batch norm too
        return not self.encoder.acts_in_training()

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of images that the encoder takes."""
        return self.encoder.smallest_side

    def grid(self, height: int, width: int) -> Grid:
        """Token grid of an image of ``height`` x ``width`` pixels."""
        return self.encoder.grid(height, width)
