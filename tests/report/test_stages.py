from __future__ import annotations

import math

import pytest

from afa_wsss.report.stages import StageScore, loss_key, loss_title, stage_key, stage_scores, stage_title


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("cam", "CAM"),
        ("cam_par", "CAM + PAR"),
        ("cam_crf", "CAM + CRF"),
        ("walk", "walk"),
        ("pseudo_label", "pseudo label"),
        ("segmentation", "segmentation branch"),
        ("par", "segmentation branch + PAR"),
        ("crf", "segmentation branch + CRF"),
        ("cam_edge_aware", "CAM + edge aware"),
        ("camera", "camera"),
        ("second_walk", "second walk"),
    ],
)
def test_titles_of_known_stages_and_the_rule_for_others(name, title):
    assert stage_title(name) == title


def test_the_branch_alone_has_a_key_without_its_name():
    assert stage_key("segmentation") == "val/miou"
    assert stage_key("second_walk") == "val/second_walk_miou"


def test_losses_go_by_their_names():
    assert loss_key("label_distribution") == "train/label_distribution_loss"
    assert loss_title("label_distribution") == "label distribution"


def test_stages_without_a_score_are_left_out():
    metrics = {"val/miou": 60.0, "val/walk_miou": math.nan, "val/cam_best_miou": 50.0, "val/a_miou": 40.0}
    metrics |= {"val/a_best_miou": 45.0, "val/a_best_background": 0.3}
    assert stage_scores(metrics, ["segmentation", "walk", "cam", "a"]) == [
        StageScore("segmentation", "segmentation branch", 60.0, None, None),
        StageScore("a", "a", 40.0, 45.0, 0.3),
    ]
    assert stage_scores(metrics, []) == []
