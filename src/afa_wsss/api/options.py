"""Ways to train that settings of several parts have to agree on."""

from __future__ import annotations

from afa_wsss.api.settings import TrainSettings
from afa_wsss.errors import UserError, argument
from afa_wsss.models import AFA
from afa_wsss.training.optim import adamw_8bit, check_layers


def check_options(settings: TrainSettings) -> None:
    """Checks what no part can check alone, before weights are loaded.

    Raises:
        UserError: For a backbone that is frozen with random weights, and for an optimizer that is not installed.
    """
    if settings.optimizer.eight_bit:
        with argument("optimizer"):
            adamw_8bit()
    named = isinstance(settings.model.backbone, str)  # one of your own may bring its weights along
    frozen = {"freeze_backbone": settings.optimizer.freeze_backbone, "freeze_layers": settings.optimizer.freeze_layers}
    word = next((f"optimizer.{name}" for name, value in frozen.items() if value), None)
    if word is not None and named and settings.model.pretrained is None:
        raise UserError(
            "need pretrained weights for a backbone that is frozen, got none; set model.pretrained=default, or leave "
            f"{word} out",
            arguments=(word, "model.pretrained"),
        )


def check_network(settings: TrainSettings, network: AFA) -> None:
    """Checks that a network can be trained as the settings say, before anything else is made.

    Raises:
        UserError: For a backbone without the layers whose rates shall differ or that shall be frozen.
    """
    with argument("optimizer"):
        check_layers(network, settings.optimizer)
