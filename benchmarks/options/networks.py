"""What options may ask of the whole network, beyond the maps that every label maker gets."""

from __future__ import annotations

from afa_wsss.errors import UserError
from afa_wsss.models import AFA
from afa_wsss.supervision import Network


def whole(network: Network, *, purpose: str) -> AFA:
    """``network`` itself, where it is one of the package.

    Raises:
        UserError: For another kind, with what it was wanted for.
    """
    if not isinstance(network, AFA):
        raise UserError(f"need a network of afa_wsss.models.AFA {purpose}, got {type(network).__name__}")
    return network
