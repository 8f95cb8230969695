from __future__ import annotations

from afa_wsss.report.looks import LookRow, affinity_text, look_rows

METRICS = {
    "val/cam_border/cat": 12.5,
    "val/inside_auc/cat": 98.0,
    "val/outside_auc/cat": 71.0,
    "val/outside_evidence/cat": -0.0,
    "val/cam_border/dog": 30.0,
    "val/affinity/mean": 0.734,
    "val/affinity/spread": 0.4,
    "val/affinity/below": 20.4,
    "val/affinity/above": 70.0,
}


def test_each_class_with_a_measure_has_a_row():
    cat, dog = look_rows(METRICS, ["cat", "cow", "dog"])
    assert cat == LookRow("cat", 12.5, 0.98, 0.71, 0.0)
    assert str(cat.evidence) == "0.0"
    assert dog == LookRow("dog", 30.0, None, None, None)


def test_the_affinity_is_told_where_it_is_known():
    assert affinity_text(METRICS) == (
        "Affinity of near tokens: 0.73 on average with a spread of 0.40; 20 % of the pairs are below 0.01 and 70 % "
        "above 0.99"
    )
    assert affinity_text({"val/affinity/mean": 0.7}) is None
