from __future__ import annotations

import math

from afa_wsss.report.image_labels import image_label_rows, left_out


def metrics_of(photos: dict[str, int]) -> dict[str, float]:
    metrics = {"val/class_f1": 80.0}
    for name, count in photos.items():
        scores = dict.fromkeys(("f1", "precision", "recall", "threshold", "best_f1"), 0.5 if count else math.nan)
        metrics |= {f"val/class_{what}/{name}": value for what, value in scores.items()}
        metrics[f"val/class_photos/{name}"] = float(count)
    return metrics


def test_a_class_without_a_held_out_photo_has_no_scores():
    cat, dog = image_label_rows(metrics_of({"cat/a": 3, "dog": 0}))
    assert (cat.name, cat.photos, cat.f1, cat.threshold) == ("cat/a", 3, 0.5, 0.5)
    assert (dog.photos, dog.f1, dog.precision, dog.recall, dog.threshold, dog.best_f1) == (0, *[None] * 5)


def test_classes_that_are_left_out_are_named():
    metrics = metrics_of({"cat": 3, "dog": 0}) | {"val/iou/cat": math.nan, "val/iou/dog": math.nan, "val/iou/x": 3.0}
    assert left_out(metrics) == [
        "mIoU leaves out cat, dog: no held-out mask shows them",
        "F1 leaves out dog: no held-out photo has it",
    ]
    assert left_out(metrics_of({"cat": 3})) == left_out({}) == []


def test_of_many_classes_ten_are_named():
    (line,) = left_out(metrics_of({f"c{number}": 0 for number in range(12)}))
    assert line == "F1 leaves out c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more: no held-out photo has them"
