"""Both ways of each benchmark give equal results, on small sizes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from benchmarks.__main__ import line, row
from benchmarks.measure import Comparison, take_turns
from benchmarks.textbook import labels as textbook_labels

from afa_wsss.models import create_model
from afa_wsss.ops.affinity import locality_mask
from benchmarks import affinity, parts, stages


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """A smaller network of the same structure, with steps of about a second."""
    monkeypatch.setattr(stages, "create_model", lambda _, classes: create_model("mit_b0", classes, decoder_width=16))


def both(ways):
    return ways.textbook(), ways.ours()


@pytest.mark.parametrize("stage", [stages.par_steps, stages.par_whole])
@pytest.mark.parametrize("channels", [3, 9])
def test_refinement(stage, channels) -> None:
    theirs, ours = both(stage(channels, 40))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_labels_of_a_step() -> None:
    (pixels, pairs), (own_pixels, own_pairs) = both(stages.label_making(96))
    assert (own_pixels == pixels).float().mean() >= 0.999
    assert (own_pairs == pairs).float().mean() >= 0.999
    assert set(own_pairs.unique().tolist()) == {0, 1, 255}


def test_a_training_step() -> None:
    """The loss of the second step shows that the first step had equal gradients."""
    ways = stages.training_step(96)
    for _ in range(2):
        theirs, ours = both(ways)
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_validation_of_a_photo() -> None:
    for theirs, ours in zip(*both(stages.validation(90, 110)), strict=True):
        assert (theirs == ours).float().mean() >= 0.999


def test_passes_apart_and_shared() -> None:
    for apart, shared in zip(*both(stages.shared_views(90, 110)), strict=True):
        torch.testing.assert_close(shared, apart, atol=1e-4, rtol=1e-4)


def test_the_window_of_four_loops_is_ours() -> None:
    assert torch.equal(textbook_labels.window_mask(5, 7, radius=2), locality_mask(5, 7, radius=2))


def test_a_row_holds_ratio_spread_and_memory() -> None:
    seconds, difference = take_turns(stages.par_whole(2, 24), 3)
    assert {name: len(found) for name, found in seconds.items()} == {"textbook": 3, "ours": 3}
    assert difference.startswith("largest difference")
    times = {"textbook": [8.0, 9.0, 10.0], "ours": [1.0, 2.0, 3.0]}
    text = line(row("stage", Comparison(times, difference, {"textbook": 80 << 20, "ours": 10 << 20})))
    assert text.startswith("| stage | 9 ± 0.5 | 2 ± 0.5 | 4.5 | 80 | 10 | 1/8.0 |")


def test_parts_of_a_step() -> None:
    theirs, ours = parts.measure(96, 1, stages.CPU, half=True, compiled=False)
    assert set(theirs) == set(ours) == set(parts.PARTS)
    seconds = dict.fromkeys(parts.PARTS, 2.0)
    *_, optimizer, whole = parts.rows(seconds, seconds | {"optimizer": 8.0})
    assert optimizer == ["optimizer", "2", "20 %", "8", "50 %", "0.2"]
    assert whole == ["step without loader", "10", "100 %", "16", "100 %", "0.6"]


def test_every_stage_can_be_made() -> None:
    assert all(isinstance(stage, partial) for stage in stages.STAGES.values())


@pytest.mark.parametrize("job", ["loss and gradients", "walk"])
def test_both_forms_of_the_affinity(job) -> None:
    ways = affinity.both_forms(job, 20)
    for dense, window in zip(*both(ways), strict=True):
        torch.testing.assert_close(window, dense, atol=1e-5, rtol=1e-5)
    assert "e-" in ways.differ(*both(ways))
