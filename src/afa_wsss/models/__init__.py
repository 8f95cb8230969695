"""The networks: backbones, branches, and weights from files."""

from afa_wsss.models.afa import AFA
from afa_wsss.models.create import build_model, create_model
from afa_wsss.models.encoders.encoder import Attention, Encoder, EncoderOutput, Grid
from afa_wsss.models.settings import ModelSettings

__all__ = [
    "AFA",
    "Attention",
    "Encoder",
    "EncoderOutput",
    "Grid",
    "ModelSettings",
    "build_model",
    "create_model",
]
