from __future__ import annotations

import pytest

from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError
from afa_wsss.training.step_batches import StepBatches, in_other_batches, step_batches


def deal(total, most, *, processes=1, accumulated=1):
    return step_batches(DataSettings(batch_size=most, total_batch=total), accumulated=accumulated, processes=processes)


@pytest.mark.parametrize(
    ("total", "most", "processes", "dealt"),
    [
        (16, 16, 1, (16, 1)),
        (16, 16, 4, (4, 1)),
        (16, 4, 2, (4, 2)),
        (16, 5, 1, (4, 4)),  # 5 does not divide it: as few equal batches as possible
        (12, 4, 2, (3, 2)),
        (7, 4, 1, (1, 7)),
        (8, 64, 8, (1, 1)),
    ],
)
def test_a_total_is_dealt_in_few_equal_batches(total, most, processes, dealt):
    step = deal(total, most, processes=processes)
    assert step == StepBatches(*dealt, processes)
    assert step.total == total


def test_without_a_total_every_process_has_its_batches():
    assert deal(None, 8, processes=4, accumulated=2) == StepBatches(8, 2, 4)
    assert deal(None, 8, processes=4, accumulated=2).total == 64


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (StepBatches(16, 1, 1), "16 crops"),
        (StepBatches(4, 2, 1), "8 crops (2 batches of 4)"),
        (StepBatches(4, 1, 8), "32 crops (8 devices x 4)"),
        (StepBatches(4, 2, 8), "64 crops (8 devices x 2 batches of 4)"),
    ],
)
def test_a_step_is_described(step, text):
    assert step.describe() == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"total": 10, "most": 8, "processes": 4}, "that 4 devices can share equally, got 10; take 8 or 12"),
        ({"total": 3, "most": 8, "processes": 4}, "that 4 devices can share equally, got 3; take 4"),
        ({"total": 8, "most": 8, "accumulated": 2}, "need total_batch or trainer.accumulate_grad_batches, got 8 and 2"),
        ({"total": 0, "most": 8}, "need total_batch of at least 1, got 0"),
    ],
)
def test_what_cannot_be_dealt_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        deal(**words)


def counts(processed, completed=None):
    """As in a checkpoint written after a step, before Lightning counts its last batch as completed."""
    completed = processed - 1 if completed is None else completed
    return {"ready": processed, "started": processed, "processed": processed, "completed": completed}


def test_batches_are_counted_as_if_dealt_as_now():
    progress = {"total": counts(26), "current": counts(6)}  # 13 steps of 2 batches, the last 3 of this epoch
    in_other_batches(progress, StepBatches(2, 2, 1), StepBatches(4, 1, 1))
    assert progress == {"total": counts(13), "current": counts(3)}
    in_other_batches(progress, StepBatches(4, 1, 1), StepBatches(1, 2, 2))
    assert progress == {"total": counts(26), "current": counts(6)}


def test_with_another_total_the_epoch_goes_on_at_a_whole_step_of_its_photos():
    progress = {"total": counts(9, 9), "current": counts(5, 5)}  # 5 steps of 2 crops: 10 photos
    in_other_batches(progress, StepBatches(2, 1, 1), StepBatches(2, 2, 1))
    assert progress == {"total": counts(18, 18), "current": counts(4, 4)}  # 8 photos, 2 come again
