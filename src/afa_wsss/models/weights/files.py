"""Weights from files: read without running code, and loaded strictly."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.models.weights import hub
from afa_wsss.models.weights.layouts import StateDict

NANO_WEIGHTS = "nano"
"""Value of ``pretrained`` for the weights of ``mit_nano`` that the package ships."""

PICKLE_STARTS = (b"P", b"\x80")
"""First bytes of files of ``torch.save``: of a zip archive, and of a bare pickle, which older versions wrote."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads named tensors from a ``.safetensors`` file or a ``torch.save`` file, never running code from it.

    Raises:
        UserError: For a missing or unreadable file, or a pickle that holds more than tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"need a file of weights, found none at {path}; give the path of one, or None (null) for random weights",
            kind="missing",
        )
    unreadable = f"need a file of weights, {path} cannot be read; is the download complete?"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with path.open("rb") as stream:
            if stream.read(1) not in PICKLE_STARTS:  # a saved web page, for one
                raise UserError(unreadable) from error
        raise UserError(
            f"need a file of plain tensors, {path} is a pickle that would run code; where you trust it, convert it: "
            f"import torch; w = torch.load({str(path)!r}, weights_only=False); "
            "w = w.get('state_dict', w.get('model', w)) if isinstance(w, dict) else w.state_dict(); "
            "torch.save(dict(w), 'weights.pth')"
        ) from error
    except Exception as error:  # an unpickler may raise anything on bytes of another kind
        raise UserError(unreadable, kind="unreadable") from error
    return _named_tensors(content, path)


def _named_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors of ``content`` itself or of what it holds as ``state_dict`` or ``model``."""
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, Mapping) else content
    tensors = content.items() if isinstance(content, Mapping) else ()
    named = {str(key): value for key, value in tensors if isinstance(value, Tensor)}
    if not named:
        raise UserError(f"need named tensors, {path} holds none; save model.state_dict() to it")
    return named


def load_strictly(module: nn.Module, weights: StateDict, *, source: str) -> None:
    """Copies ``weights`` into ``module``; every name and shape has to fit.

    Raises:
        UserError: Naming what is missing, what was not expected, and what has another shape.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if getattr(own[key], "shape", None) != getattr(weights[key], "shape", None)  # state of one's own may have none
    ]
    faults = {"missing": missing, "not expected": extra, "of another shape": shapes}
    reasons = "; ".join(f"{len(keys)} {fault}: {listed(keys)}" for fault, keys in faults.items() if keys)
    if reasons:
        raise UserError(f"need weights that fit the model, {source} does not: {reasons}")
    module.load_state_dict(weights)


def listed(names: list[str], most: int = 20) -> str:
    """The first ``most`` names, separated by commas, and dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def find_weights(pretrained: str) -> Path:
    """The file that a value of ``pretrained`` names; raises what ``hub.download`` raises."""
    if pretrained == NANO_WEIGHTS:
        return Path(str(files("afa_wsss.models"))) / "pretrained" / "mit_nano.safetensors"
    if pretrained.startswith(hub.HUB_PREFIX):
        return hub.download(pretrained.removeprefix(hub.HUB_PREFIX))
    return Path(pretrained).expanduser()
