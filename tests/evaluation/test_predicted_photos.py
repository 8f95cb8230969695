from __future__ import annotations

import torch
from tests.imagined_gpu import imagined_gpu

from afa_wsss.evaluation.predicted_photos import PredictedPhotos


def test_a_class_is_predicted_where_it_is_more_than_specks():
    labels = torch.zeros(3, 100, 100, dtype=torch.uint8)
    labels[0, :2, :5] = 1  # a thousandth
    labels[1, :1, :9] = 1
    labels[1:, 50:] = 3
    labels[2, :10] = 255
    predicted = PredictedPhotos(3)
    predicted.update(labels[:2])
    predicted.update(labels[2:].long())
    found = predicted.compute()
    assert found.photos.item() == 3
    assert found.classes.tolist() == [1, 0, 2]


def test_large_photos_are_counted_on_a_coarser_grid():
    labels = torch.zeros(1, 1000, 700, dtype=torch.uint8)
    labels[:, 100:200, 100:200] = 1
    predicted = PredictedPhotos(1)
    predicted.update(labels)
    assert predicted.compute().classes.item() == 1


def test_it_waits_for_no_gpu():
    metric = PredictedPhotos(2)
    with imagined_gpu() as move:
        move(metric).update(move(torch.zeros(2, 8, 8, dtype=torch.uint8)))
