"""The networks: backbones, branches, and weights from files."""

from afa_wsss.models.afa import AFA, create_model

__all__ = ["AFA", "create_model"]
