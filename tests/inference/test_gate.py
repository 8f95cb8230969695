from __future__ import annotations

import logging

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.inference import ClassGate, InferenceSettings, refined_scores

NAMES = ("cat", "dog", "cow")
CLASS_LOGITS = torch.tensor([[2.0, 0.0, -2.0], [-0.1, 3.0, -3.0]])


def by_hand(logits, class_logits, thresholds):
    """The classes of each pixel, one photo and class at a time."""
    labels = []
    for photo, scores in zip(logits, class_logits, strict=True):
        kept = [0, *(place for place, low in enumerate(thresholds, start=1) if scores[place - 1].sigmoid() >= low)]
        labels.append(torch.tensor(kept)[photo[kept].argmax(dim=0)])
    return torch.stack(labels)


@pytest.mark.parametrize(
    ("gate", "found", "thresholds"),
    [
        (0.5, {}, (0.5, 0.5, 0.5)),
        (0.05, {"cat": 0.9}, (0.05, 0.05, 0.05)),
        ("auto", {"cat": 0.95, "dog": 0.4, "cow": 0.01}, (0.95, 0.4, 0.01)),
        ("auto", {"dog": 0.99}, (0.5, 0.99, 0.5)),
    ],
)
def test_labels_have_the_classes_that_are_found_alone(gate, found, thresholds):
    logits, made = torch.randn(2, 4, 5, 7), ClassGate(NAMES, found)
    assert made.thresholds(gate) == thresholds
    gated = made.apply(gate, logits, CLASS_LOGITS)
    assert torch.equal(gated.argmax(dim=1), by_hand(logits, CLASS_LOGITS, thresholds))
    assert torch.equal(gated[:, 0], logits[:, 0]), "the background is never left out"


def test_without_a_gate_logits_stay_as_they_are():
    logits = torch.randn(2, 4, 5, 7)
    assert ClassGate(NAMES).apply(None, logits, CLASS_LOGITS) is logits
    assert ClassGate(NAMES).thresholds(None) == (0, 0, 0)


@pytest.mark.parametrize("refinement", ["none", "par", "crf"])
def test_no_refinement_brings_a_class_back(refinement):
    """The dense CRF gives each class a floor."""
    photos, logits = torch.randint(0, 256, (2, 3, 12, 14), dtype=torch.uint8), torch.randn(2, 4, 12, 14)
    gated = ClassGate(NAMES).apply(0.5, logits, CLASS_LOGITS)
    scores = refined_scores(photos, gated, InferenceSettings(refinement=refinement))
    assert not scores[0, 3].any()
    assert not scores[1, [1, 3]].any()
    torch.testing.assert_close(scores.sum(dim=1), torch.ones_like(scores[:, 0]))


def test_classes_without_a_threshold_are_named_once(caplog):
    logits, gate = torch.randn(2, 4, 5, 7), ClassGate(NAMES)

    def notes(word):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="afa_wsss"):
            for _ in range(2):
                gate.apply(word, logits, CLASS_LOGITS)
        return [record.getMessage() for record in caplog.records]

    line = "inference.gate=auto: no validation has found a threshold of {}; 0.5 stands in"
    assert notes(0.3) == []
    assert notes("auto") == [line.format("any class")]
    gate.found = {"dog": 0.3}
    assert notes("auto") == [line.format("cat, cow")]
    gate.found = dict.fromkeys(NAMES, 0.3)
    assert notes("auto") == []


@pytest.mark.parametrize("gate", [0, 1, 0.0, 1.0, -0.2, 2, True, False, "best", "0.5", float("nan")])
def test_what_is_no_gate_is_refused(gate):
    with pytest.raises(UserError, match=f"need none, auto or a probability between 0 and 1, got {gate}") as raised:
        InferenceSettings(gate=gate)
    assert raised.value.arguments == ("gate",)


@pytest.mark.parametrize(("gate", "kept"), [(None, None), ("none", None), ("auto", "auto"), (0.25, 0.25)])
def test_gates(gate, kept):
    assert InferenceSettings(gate=gate).gate == kept
