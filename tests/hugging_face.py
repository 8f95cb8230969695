"""SegFormers of ``transformers`` with random weights, and their files as on the hub."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, SegformerConfig

from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS


def hugging_face(cls: type[PreTrainedModel], backbone: str) -> PreTrainedModel:
    """A SegFormer with random weights, norms and biases too: at 1 and 0, swapped tensors would go unnoticed."""
    sizes = MIX_TRANSFORMERS[backbone]
    config = SegformerConfig(hidden_sizes=list(sizes.widths), depths=list(sizes.depths), num_labels=3)
    model = cls(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.2)
    return model


def save_published(model: PreTrainedModel, folder: Path, suffix: str) -> Path:
    """Saves it with the names that files on the hub have; ``state_dict()`` has others since transformers 5."""
    model.save_pretrained(folder)
    if suffix == "bin":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        return folder / "pytorch_model.bin"
    return folder / "model.safetensors"
