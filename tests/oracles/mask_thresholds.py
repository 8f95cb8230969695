"""Background scores from masks: confusion matrices pixel by pixel, and a walk over the candidates."""

from __future__ import annotations

import math


def confusion(labels, targets, classes):
    """Rows are targets; pixels of 255 are not counted. ``labels`` and ``targets`` are lists of (H, W) arrays."""
    matrix = [[0] * classes for _ in range(classes)]
    for label, target in zip(labels, targets, strict=True):
        for row_of_labels, row_of_targets in zip(label.tolist(), target.tolist(), strict=True):
            for found, wanted in zip(row_of_labels, row_of_targets, strict=True):
                if wanted != 255:
                    matrix[wanted][found] += 1
    return matrix


def miou(matrix):
    """Mean of hits over union, in percent, over the classes that some target has."""
    ious = []
    for index, row in enumerate(matrix):
        if sum(row):
            column = sum(other[index] for other in matrix)
            ious.append(100 * row[index] / (sum(row) + column - row[index]))
    return sum(ious) / len(ious) if ious else math.nan


def choice(curve, candidates, nearly):
    """(low, high, background): the best candidate, and how far one can go from it until the curve is below nearly."""
    best = max(range(len(curve)), key=lambda index: curve[index])
    limit = nearly * curve[best]

    def reach(step):
        index = best
        while 0 <= index + step < len(curve):
            here, there = curve[index], curve[index + step]
            if there < limit:
                part = (here - limit) / (here - there)
                return candidates[index] + part * (candidates[index + step] - candidates[index])
            index += step
        return candidates[index]

    return reach(-1), reach(1), candidates[best]
