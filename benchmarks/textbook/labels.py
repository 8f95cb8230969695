"""Pseudo labels photo by photo: the classes of one, one threshold, one refinement at a time."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.textbook import par

LOW, HIGH, RADIUS, IGNORE = 0.35, 0.55, 8, 255


def window_mask(height: int, width: int, radius: int = RADIUS) -> Tensor:
    """Pairs of tokens at most ``radius`` apart, by four nested loops."""
    mask = np.zeros((height * width, height * width), dtype=bool)
    for y in range(height):
        for x in range(width):
            for other_y in range(max(0, y - radius), min(height, y + radius + 1)):
                for other_x in range(max(0, x - radius), min(width, x + radius + 1)):
                    mask[y * width + x, other_y * width + other_x] = True
    return torch.from_numpy(mask)


def _resize(maps: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)


def _combined(low: Tensor, high: Tensor) -> Tensor:
    label = high.clone()
    label[high == 0] = IGNORE
    label[(low + high) == 0] = 0
    return label


@torch.no_grad()
def labels_from_cam(images: Tensor, cam: Tensor, image_labels: Tensor, boxes: Tensor) -> Tensor:
    """Labels from the CAM: step 6 of docs/method.md."""
    b, _, height, width = images.shape
    small_images = _resize(images, (height // 2, width // 2))
    small_cam = _resize(cam, (height // 2, width // 2))
    result = torch.full((b, height, width), IGNORE, dtype=torch.uint8, device=images.device)
    for index in range(b):
        present = torch.nonzero(image_labels[index])[:, 0]
        classes = torch.cat([present.new_zeros(1), present + 1])
        both = []
        for threshold in (LOW, HIGH):
            background = torch.full_like(small_cam[index, :1], threshold)
            scores = torch.cat([background, small_cam[index, present]])[None].softmax(dim=1)
            refined = _resize(par.refine(small_images[index][None], scores), (height, width))
            both.append(classes[refined.argmax(dim=1)[0]])
        top, bottom, left, right = boxes[index].tolist()
        label = _combined(*both).to(torch.uint8)
        result[index, top:bottom, left:right] = label[top:bottom, left:right]
    return result


@torch.no_grad()
def labels_from_walk(
    images: Tensor,
    cam: Tensor,
    affinity: Tensor,
    image_labels: Tensor,
    boxes: Tensor,
    *,
    grid: tuple[int, int],
    window: Tensor,
) -> Tensor:
    """Labels after the random walk: steps 9 and 10 of docs/method.md."""
    b, _, height, width = images.shape
    powers = affinity**2 * window.to(affinity.dtype)
    transition = powers / (powers.sum(dim=-1, keepdim=True) + 0.1)
    tokens = _resize(cam, grid)
    result = torch.full((b, height, width), IGNORE, dtype=torch.uint8, device=images.device)
    for index in range(b):
        present = torch.nonzero(image_labels[index])[:, 0]
        classes = torch.cat([present.new_zeros(1), present + 1])
        top, bottom, left, right = boxes[index].tolist()
        window_image = images[index][None, :, top:bottom, left:right]
        small_image = _resize(window_image, ((bottom - top) // 2, (right - left) // 2))
        both = []
        for threshold in (LOW, HIGH):
            background = torch.full_like(tokens[index, :1], threshold)
            scores = torch.cat([background, tokens[index, present]]).softmax(dim=0)
            walked = (transition[index] @ scores.flatten(1).T).T.reshape(1, -1, *grid)
            full = _resize(walked, (height, width))[..., top:bottom, left:right]
            refined = _resize(par.refine(small_image, full), (bottom - top, right - left))
            both.append(classes[refined.argmax(dim=1)[0]])
        result[index, top:bottom, left:right] = _combined(*both).to(torch.uint8)
    return result


@torch.no_grad()
def label_stages(
    images: Tensor,
    cam: Tensor,
    affinity: Tensor,
    image_labels: Tensor,
    *,
    grid: tuple[int, int],
    window: Tensor,
    background: float = 0.45,
) -> tuple[Tensor, ...]:
    """Labels of whole photos at one background score: CAM, CAM and PAR, walk, walk and PAR."""
    b, _, height, width = images.shape
    small_images, small_cam = (_resize(maps, (height // 2, width // 2)) for maps in (images, cam))
    powers = affinity**2 * window.to(affinity.dtype)
    transition = powers / (powers.sum(dim=-1, keepdim=True) + 0.1)
    tokens, found = _resize(cam, grid), []
    for index in range(b):
        present = torch.nonzero(image_labels[index])[:, 0]
        classes = torch.cat([present.new_zeros(1), present + 1])
        plain = torch.cat([torch.full_like(cam[index, :1], background), cam[index, present]])[None]
        scores = torch.cat([torch.full_like(small_cam[index, :1], background), small_cam[index, present]])
        refined = _resize(par.refine(small_images[index][None], scores[None].softmax(dim=1)), (height, width))
        scores = torch.cat([torch.full_like(tokens[index, :1], background), tokens[index, present]]).softmax(dim=0)
        walked = _resize((transition[index] @ scores.flatten(1).T).T.reshape(1, -1, *grid), (height, width))
        both = _resize(par.refine(small_images[index][None], walked), (height, width))
        found.append([classes[stage.argmax(dim=1)[0]] for stage in (plain, refined, walked, both)])
    return tuple(torch.stack(stage) for stage in zip(*found, strict=True))


def affinity_labels(labels: Tensor, *, grid: tuple[int, int], window: Tensor) -> Tensor:
    """Affinity labels: step 7 of docs/method.md."""
    tokens = F.interpolate(labels[:, None].float(), size=grid, mode="nearest").flatten(1)
    result = []
    for row in tokens:
        label = (row[:, None] == row[None, :]).to(torch.uint8)
        label[~window] = IGNORE
        label[row == IGNORE, :] = IGNORE
        label[:, row == IGNORE] = IGNORE
        result.append(label)
    return torch.stack(result)
