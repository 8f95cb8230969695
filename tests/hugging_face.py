"""Random SegFormers of ``transformers``, and their files as the hub has them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, SegformerConfig

from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS


def hugging_face(cls: type[PreTrainedModel], backbone: str) -> PreTrainedModel:
    """A random SegFormer of ``transformers``; norms and biases are not left at 1 and 0, where mix-ups do not show."""
    sizes = MIX_TRANSFORMERS[backbone]
    config = SegformerConfig(hidden_sizes=list(sizes.widths), depths=list(sizes.depths), num_labels=3)
    model = cls(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.2)
    return model


def save_published(model: PreTrainedModel, folder: Path, suffix: str) -> Path:
    """Writes it under the names that the files of the hub have; ``state_dict()`` has others since transformers 5."""
    model.save_pretrained(folder)
    if suffix == "bin":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        return folder / "pytorch_model.bin"
    return folder / "model.safetensors"
