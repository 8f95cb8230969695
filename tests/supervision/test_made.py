"""What a label maker of one's own makes: its kind, shape, type and range are checked."""

from __future__ import annotations

import math

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.ops.affinity import TokenLabels
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.made import check_made, check_stages
from afa_wsss.types import Batch, Labels, Targets

MAKER = AFALabels()
PHOTOS = torch.zeros(2, 3, 8, 12, dtype=torch.uint8)
GRID = (2, 3)
BATCH = Batch(PHOTOS, torch.ones(2, 3), torch.tensor([[0, 8, 0, 12]] * 2), ("a", "b"))
GOOD = torch.tensor([0, 1, 3, 255], dtype=torch.uint8).repeat(2, 8, 3)


def targets(label=GOOD, **others) -> Targets:
    return Targets.of(BATCH, pseudo_label=label, **others)


@pytest.mark.parametrize("label", [GOOD, GOOD.long(), GOOD[:, ::4, ::4], GOOD.int().clamp(max=3)])
def test_classes_of_any_integer_type_and_size_pass(label) -> None:
    check_made(targets(label), {"pseudo_label": "segmentation"}, MAKER, batch=BATCH, grid=GRID)
    check_stages({"mine": Labels(label, scores=torch.rand(2, 3, 8, 12))}, MAKER, batch=BATCH)


WRONG = [
    (GOOD.float(), "need integer classes for .*, got torch.float32; return labels.to"),
    (GOOD > 0, "need integer classes for .*, got torch.bool"),
    (GOOD[:1], r"need shape \(2, H, W\) for .*, got \(1, 8, 12\)"),
    (GOOD[:, None].expand(2, 4, 8, 12), r"need shape \(2, H, W\) for .*, got \(2, 4, 8, 12\); return one class"),
    (GOOD + 4, r"need classes 0 to 3, 0 for background and 255 for unknown for .*, got (4|5|7)"),
    (GOOD.long() - 1, "got -1"),
    ([[0]], "need a tensor for .*, got list"),
]


@pytest.mark.parametrize(("label", "message"), WRONG)
def test_wrong_pixel_labels_are_named(label, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        check_made(targets(label), {}, MAKER, batch=BATCH, grid=GRID)
    assert "pseudo_label of AFALabels.targets" in str(error.value)
    with pytest.raises(UserError, match=message) as error:
        check_stages({"mine": Labels(label)}, MAKER, batch=BATCH)
    assert "stage 'mine' of AFALabels.stages" in str(error.value)


def test_values_are_read_only_where_that_is_asked_for() -> None:
    check_made(targets(GOOD + 4), {}, MAKER, batch=BATCH, grid=GRID, values=False)


@pytest.mark.parametrize(("made", "got"), [(None, "NoneType"), ({"pseudo_label": GOOD}, "dict"), (GOOD, "Tensor")])
def test_targets_are_targets(made, got) -> None:
    with pytest.raises(UserError, match=f"need afa_wsss.types.Targets from AFALabels.targets, got {got}; return"):
        check_made(made, {}, MAKER, batch=BATCH, grid=GRID)


def test_affinity_labels_are_those_of_all_pairs_of_each_photo() -> None:
    check_made(targets(affinity_label=torch.zeros(2, 6, 6)), {}, MAKER, batch=BATCH, grid=GRID)
    check_made(targets(affinity_label=TokenLabels(GOOD[:, ::4, ::4], 2)), {}, MAKER, batch=BATCH, grid=GRID)
    wrong = [
        (
            torch.zeros(1, 6, 6),
            r"need shape \(2, 6, 6\) for affinity_label of AFALabels.*got \(1, 6, 6\); there are 2 x 3",
        ),
        (torch.zeros(2, 24, 24), r"need shape \(2, 6, 6\) for affinity_label of AFALabels.*got \(2, 24, 24\)"),
        (TokenLabels(GOOD[:, ::2, ::2], 2), r"need tokens of shape \(2, 2, 3\) for .*, got \(2, 4, 6\); the grid is"),
        (
            torch.full((2, 6, 6), 0.5),
            "need 1 for pairs of one class, 0 for others and 255 for unknown for affinity_label .*, got 0.5",
        ),
    ]
    for label, message in wrong:
        with pytest.raises(UserError, match=message):
            check_made(targets(affinity_label=label), {}, MAKER, batch=BATCH, grid=GRID)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Labels(GOOD)], "need a dict of afa_wsss.types.Labels by name from AFALabels.stages, got list"),
        ({"mine": GOOD}, "need afa_wsss.types.Labels for stage 'mine' of AFALabels.stages, got Tensor"),
        ({"mine": Labels(GOOD, scores=torch.rand(2, 4, 8, 12))}, r"need shape \(2, 3, H, W\) for the scores of stage"),
        ({"mine": Labels(GOOD, scores=torch.full((2, 3, 8, 12), 2.0))}, r"need values in \[0, 1\] for .*, got 2 to 2"),
        ({"mine": Labels(GOOD, scores=torch.full((2, 3, 8, 12), math.nan))}, "got nan to nan; normalize them"),
    ],
)
def test_stages_are_labels_by_name_with_a_score_for_each_class(stages, message) -> None:
    with pytest.raises(UserError, match=message):
        check_stages(stages, MAKER, batch=BATCH)
