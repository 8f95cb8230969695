from __future__ import annotations

import numpy as np
import pytest

from afa_wsss.report.charts import Curve
from afa_wsss.report.label_shares import class_series, label_warnings, share_table
from afa_wsss.report.run import RunInfo

THRESHOLDS = {"supervision.low": 0.35, "supervision.high": 0.55, "supervision.background": 0.45}
RUN = RunInfo(
    name="run",
    class_names=["inclusion", "patch"],
    palette=np.zeros((3, 3), np.uint8),
    stages=("cam", "pseudo_label", "segmentation", "crf"),
    losses=(),
    marks={},
    facts=(),
    settings="",
    thresholds=THRESHOLDS,
)


def shares(prefix, inclusion, patch, unknown=0.0):
    found = {"foreground": inclusion + patch, "background": 100 - inclusion - patch - unknown, "unknown": unknown}
    found |= {"class/inclusion": inclusion, "class/patch": patch}
    return {f"{prefix}/{what}": share for what, share in found.items()}


def lines(metrics, run=RUN):
    return [warning.line for warning in label_warnings(metrics, run)]


def test_the_table_has_a_column_for_each_kind_of_labels_that_is_known():
    metrics = shares("train/labels", 20.0, 10.0, 30.0) | shares("val/labels/segmentation", 25.0, 0.0)
    metrics |= {"val/labels/cam/foreground": 3.0}
    table = share_table(metrics, RUN)
    assert table.columns == ["labels in training", "segmentation branch"]
    assert [(row.name, row.shares) for row in table.kinds] == [
        ("foreground", [30.0, 25.0]),
        ("background", [40.0, 75.0]),
        ("unknown", [30.0, 0.0]),
    ]
    assert [(row.name, row.shares) for row in table.classes] == [("inclusion", [20.0, 25.0]), ("patch", [10.0, 0.0])]
    assert share_table({}, RUN).columns == []


HIGHER = (
    "if the pictures show that this is wrong, train again with higher supervision.low (now 0.35), "
    "supervision.high (now 0.55) and supervision.background (now 0.45)"
)
CASES = {
    "one class": ((96.2, 1.0, 1.0), f"labels call 96 % of the pixels inclusion: {HIGHER}"),
    "classes together": ((60.0, 39.5, 0.4), f"labels call 99.5 % of the pixels foreground: {HIGHER}"),
    "background": ((1.0, 2.0, 0.0), f"labels call 97 % of the pixels background: {HIGHER.replace('higher', 'lower')}"),
    "no foreground": (
        (0.25, 0.0, 60.0),
        f"labels call 0.2 % of the pixels foreground: {HIGHER.replace('higher', 'lower')}",
    ),
    "no background": ((40.0, 30.0, 30.0), f"labels call 0 % of the pixels background: {HIGHER}"),
    "unknown": (
        (1.0, 1.0, 97.0),
        "labels call 97 % of the pixels unknown: if the pictures show that this is wrong, train again with "
        "supervision.low (now 0.35) and supervision.high (now 0.55) closer together",
    ),
}


@pytest.mark.parametrize(("found", "warning"), CASES.values(), ids=CASES.keys())
def test_nearly_all_or_nothing_is_worth_a_warning(found, warning):
    assert lines(shares("train/labels", *found)) == [warning]


def test_labels_that_are_unknown_whatever_their_one_score():
    """Nothing can be set closer together."""
    run = RUN._replace(thresholds={"supervision.background": 0.4})
    (warning,) = label_warnings(shares("train/labels", 1.0, 1.0, 97.0), run)
    assert warning.line.endswith("unknown: look at the pictures before you trust the masks")


def test_usual_shares_are_not():
    assert label_warnings(shares("train/labels", 20.0, 10.0, 0.0), RUN) == []
    assert label_warnings({}, RUN) == []


def test_each_kind_of_labels_is_judged_and_nothing_said_twice():
    held_out = shares("val/labels/pseudo_label", 97.0, 0.0) | shares("val/labels/segmentation", 0.0, 0.0)
    stage, branch = lines(held_out)
    assert stage == f"labels of held-out photos (pseudo label) call 97 % of the pixels inclusion: {HIGHER}"
    assert branch == (
        "labels of held-out photos (segmentation branch) call 100 % of the pixels background: if the labels it "
        "learns from are right, raise trainer.max_steps"
    )
    training = shares("train/labels", 90.0, 8.0)
    assert [line[:40] for line in lines(held_out | training)] == [
        "labels call 98 % of the pixels foreground"[:40],
        branch[:40],
    ]


def test_labels_are_judged_once_they_are_in_use_and_the_branch_once_it_is_trained():
    held_out = shares("val/labels/pseudo_label", 97.0, 0.0) | shares("val/labels/segmentation", 0.0, 0.0)
    class_loss = RUN._replace(trained={"image_labels": "classification"}, pending={"pseudo_label"})
    assert lines(held_out, class_loss) == []
    assert len(lines(held_out | shares("train/labels", 97.0, 0.0), class_loss)) == 1
    first_labels = class_loss._replace(pending=())
    assert [line[:42] for line in lines(held_out, first_labels)] == ["labels of held-out photos (pseudo label) c"]
    assert len(lines(held_out, first_labels._replace(trained={"pseudo_label": "segmentation"}))) == 2


def test_a_label_maker_without_thresholds_has_a_warning_too():
    (line,) = lines(shares("train/labels", 97.0, 0.0), RUN._replace(thresholds={}))
    assert line == "labels call 97 % of the pixels inclusion: look at the pictures before you trust the masks"


def test_the_largest_classes_are_drawn_in_their_order():
    names = [f"class {number}" for number in range(12)]
    history = [Curve(f"train/labels/class/{name}", [(0, 50.0), (9, float(index))]) for index, name in enumerate(names)]
    series = class_series(history, names, [f"line-{number}" for number in range(8)])
    assert [one.label for one in series] == names[4:]
