"""Ways to train that settings of several parts have to agree on."""

from __future__ import annotations

from afa_wsss.api.settings import TrainSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.models import AFA
from afa_wsss.training.optim import adamw_8bit, layers_of


def check_options(settings: TrainSettings) -> None:
    """Checks what no part can check alone, before weights are loaded.

    Raises:
        UserError: For a backbone that is frozen with random weights, and for an optimizer that is not installed.
    """
    if settings.optimizer.eight_bit:
        with argument("optimizer"):
            adamw_8bit()
    named = isinstance(settings.model.backbone, str)  # one of your own may bring its weights along
    if settings.optimizer.freeze_backbone and named and settings.model.pretrained is None:
        raise UserError(
            "need pretrained weights for a backbone that is frozen, got none; set model.pretrained=default, or "
            "optimizer.freeze_backbone=false",
            arguments=("optimizer.freeze_backbone", "model.pretrained"),
        )


def check_network(settings: TrainSettings, network: AFA) -> None:
    """Checks that a network can be trained as the settings say, before anything else is made.

    Raises:
        UserError: For a backbone without layers whose rates shall differ.
    """
    with argument("optimizer"):
        layers_of(network, settings.optimizer)
