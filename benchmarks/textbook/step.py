"""One training step, and one validation batch."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from afa_wsss.models import AFA
from afa_wsss.ops.image import normalize
from afa_wsss.types import Batch
from benchmarks.textbook import labels, network

SCALES = (1.0, 0.5, 1.5)


@lru_cache
def window(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Pairs of tokens near each other, made once in a training run."""
    return labels.window_mask(*grid).to(device)


def grids(model: AFA, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Token grids of the training pass and of the largest scale."""
    return model.grid(height, width), model.grid(int(height * max(SCALES)), int(width * max(SCALES)))


def make_maps(model: AFA, batch: Batch) -> tuple[Tensor, Tensor]:
    """Activation maps of the classes in each photo, and the affinity of the largest scale."""
    cam, affinity = network.multi_scale_cam(model, normalize(batch.images), scales=SCALES)
    return cam * batch.image_labels[..., None, None], affinity


def make_labels(model: AFA, batch: Batch, cam: Tensor, affinity: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel labels from the walk, and affinity labels from the CAM."""
    photos, device = batch.images.float() / 255, batch.images.device
    grid, large = grids(model, *photos.shape[-2:])
    from_cam = labels.labels_from_cam(photos, cam, batch.image_labels, batch.boxes)
    shown = (photos, cam, affinity, batch.image_labels, batch.boxes)
    from_walk = labels.labels_from_walk(*shown, grid=large, window=window(large, device))
    return from_walk, labels.affinity_labels(from_cam, grid=grid, window=window(grid, device))


def make_targets(model: AFA, batch: Batch) -> tuple[Tensor, Tensor]:
    """Pixel labels and affinity labels of a batch."""
    return make_labels(model, batch, *make_maps(model, batch))


def total_loss(output: network.AFAOutput, image_labels: Tensor, pixels: Tensor, pairs: Tensor) -> Tensor:
    """L_cls + 0.1 L_seg + 0.1 L_aff."""
    logits = F.interpolate(output.seg_logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
    background, foreground = pixels.long().clone(), pixels.long().clone()
    background[pixels != 0] = 255
    foreground[pixels == 0] = 255
    segmentation = 0.5 * sum(
        F.cross_entropy(logits, kind, ignore_index=255) if (kind != 255).any() else logits.sum() * 0
        for kind in (background, foreground)
    )
    positive, negative = (pairs == 1).float(), (pairs == 0).float()
    apart = (positive * (1 - output.affinity)).sum() / (positive.sum() + 1)
    together = (negative * output.affinity).sum() / (negative.sum() + 1)
    classes = nn.functional.multilabel_soft_margin_loss(output.class_logits, image_labels)
    return classes + 0.1 * segmentation + 0.1 * 0.5 * (apart + together)


def training_step(model: AFA, optimizer: Optimizer, batch: Batch) -> float:
    """Forward, labels, losses, backward, optimizer; returns the loss."""
    output = network.forward(model, normalize(batch.images))
    loss = total_loss(output, batch.image_labels, *make_targets(model, batch))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def inspect(model: AFA, batch: Batch) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """What validation scores: prediction over scales and mirror, class logits, CAM, and labels of each stage."""
    images = normalize(batch.images)
    height, width = images.shape[-2:]
    class_logits = network.forward(model, images).class_logits
    views = []
    for scale in SCALES:
        scaled = images
        if scale != 1.0:
            size = [int(height * scale), int(width * scale)]
            scaled = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        logits = network.forward(model, torch.cat([scaled, scaled.flip(-1)])).seg_logits
        logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        views += [logits[: len(images)], logits[len(images) :].flip(-1)]
    prediction = torch.stack(views).amax(dim=0).argmax(dim=1)
    cam, affinity = make_maps(model, batch)
    _, large = grids(model, height, width)
    shown = (batch.images.float() / 255, cam, affinity, batch.image_labels)
    stages = labels.label_stages(*shown, grid=large, window=window(large, images.device))
    return prediction, class_logits, cam, stages
