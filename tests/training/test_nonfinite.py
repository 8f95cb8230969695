from __future__ import annotations

import math

import pytest

from afa_wsss.training.callbacks.nonfinite import cause_of
from afa_wsss.training.finite_steps import TOTAL, Report

GOOD = {"seg": 1.0, TOTAL: 2.0}
CAUSES = {
    "terms": (
        [{"seg": math.nan, "aff": math.inf, TOTAL: math.nan}],
        {},
        "seg loss is nan, aff loss is inf (photos a, b)",
    ),
    "second batch": ([GOOD, {"seg": -math.inf, TOTAL: -math.inf}], {}, "seg loss is -inf (photos c, d)"),
    "head": ([{**GOOD, TOTAL: math.nan}], {}, "total loss is nan though each term is finite: a head's output is not"),
    "gradient": ([GOOD], {"x": 1.0, "y": math.nan, "z": math.inf}, "gradient of y is nan, of 2 parameters in all"),
}


@pytest.mark.parametrize(("losses", "gradients", "message"), CAUSES.values(), ids=CAUSES.keys())
def test_causes(losses, gradients, message):
    batches = tuple(zip((("a", "b"), ("c", "d")), losses, strict=False))
    assert cause_of(Report(True, 1, True, batches, gradients)).startswith(message)


def test_a_message_names_some_photos():
    photos = tuple(f"photo_{index}" for index in range(20))
    cause = cause_of(Report(True, 1, True, ((photos, {"seg": math.nan, TOTAL: math.nan}),), {}))
    assert cause.endswith("photo_6, photo_7 and 12 more)")
