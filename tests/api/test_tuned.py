"""The words of afa-tune give the labels of the best row, and can be given behind the run's own."""

from __future__ import annotations

import json

import pytest
import torch
from tests.commands import composed

from afa_wsss.api.tune import TuneSettings, study_of
from afa_wsss.api.tuned import Found, found_of, write_tuned
from afa_wsss.errors import UserError
from afa_wsss.evaluation.label_counts import confusions
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.supervision.label_race import Tally

SCORES = (0.2, 0.4, 0.6)
OWN = {
    "low": "auto",
    "high": "auto",
    "background": "auto",
    "first_step": 10,
    "walk_first_step": 20,
}
AUTO = [f"supervision.{name}={value}" for name, value in OWN.items()]


def tallies_of(right: dict[str, int], *, photos: int = 3) -> dict[str, Tally]:
    """Of 20 pixels of two classes, as many right as ``right`` says, at each of three background scores alike."""
    target = torch.arange(20, dtype=torch.uint8)[None] % 2
    tallies = {}
    for name, count in right.items():
        labels = torch.where(torch.arange(20) < count, target, 1 - target).expand(len(SCORES), 1, 20)
        tallies[name] = Tally(torch.zeros(len(SCORES), 2, 2, dtype=torch.long))
        for _ in range(photos):
            tallies[name].add(confusions(labels, target, classes=2))
    return tallies


def found(maker: AFALabels, *, cam: int, cam_par: int, walk: int, walk_par: int, **more) -> Found:
    settings = TuneSettings(checkpoint="a", scores=SCORES, alpha=(2.0,), walk_steps=(1,))
    study, own = study_of(settings, maker)
    study = study._replace(scores=SCORES)
    right = {"cam": cam, "cam_par": cam_par, own: walk, f"{own}+par": walk_par}
    if isinstance(maker.refinement, NoRefinement):
        right = {name: count for name, count in right.items() if not name.endswith("par")}
    return found_of(study, tallies_of(right), own=own, labeled=90, masks=(1,), **more)


def supervision_of(words: tuple[str, ...], *run: str) -> AFALabels:
    """The label maker of the run with the words behind its own."""
    return composed("data=voc12", *AUTO, *run, *words).settings.supervision


def test_where_the_cam_is_better_the_words_leave_out_the_walk():
    run = ["supervision.walk_low=0.3", "supervision.walk_high=0.5", "supervision.walk_background=0.4"]
    maker = supervision_of((), *run)
    best = found(maker, cam=12, cam_par=18, walk=14, walk_par=13)
    assert [choice.name for choice in best.best] == ["cam_par", "walk_radius=8 alpha=2 walk_steps=1"]
    assert best.leaves_out_walk
    made = supervision_of(best.words, *run)
    assert made.walk_first_step is None
    assert made.cam_thresholds == made.walk_thresholds
    assert "supervision.refinement=none" not in best.words
    assert not any(word.startswith("supervision.alpha") for word in best.words)


def test_the_cam_is_refined_only_where_that_is_best():
    best = found(supervision_of(()), cam=18, cam_par=12, walk=13, walk_par=14)
    assert (best.best[0].name, best.best[1].name) == ("cam", "walk_radius=8 alpha=2 walk_steps=1+par")
    assert isinstance(supervision_of(best.words).refinement, NoRefinement)


def test_the_best_cam_is_never_below_the_one_as_trained():
    best = found(supervision_of(()), cam=12, cam_par=15, walk=18, walk_par=13)
    assert not best.leaves_out_walk
    assert best.best[0].name == "cam_par"
    assert best.best[0].miou >= best.before[0].miou
    made = supervision_of(best.words)
    assert isinstance(made.refinement, NoRefinement)  # the walk's, which is better
    assert made.walk_first_step == 20


@pytest.mark.parametrize(("max_steps", "step"), [(None, 30), (1000, 30), (40, 20), (12, 10)])
def test_where_the_walk_is_better_than_in_a_run_without_the_words_begin_it(max_steps, step):
    run = ["supervision.walk_first_step=null"]
    best = found(supervision_of((), *run), cam=12, cam_par=13, walk=14, walk_par=15, max_steps=max_steps)
    assert supervision_of(best.words, *run).walk_first_step == step


@pytest.mark.parametrize("walk", [10, 19])
@pytest.mark.parametrize("run", [["walk_when=better"], ["auto_from=masks"], ["auto_from=masks", "walk_when=better"]])
def test_nothing_is_left_to_be_found(run, walk):
    run = [f"supervision.{word}" for word in run]
    best = found(supervision_of((), *run), cam=12, cam_par=15, walk=walk, walk_par=walk)
    made = supervision_of(best.words, *run)
    assert made.memory is None
    assert (made.walk_first_step is None) == (walk == 10)
    assert not made.leaves_out_walk


def test_without_refinement_there_is_no_word_for_it():
    run = ["supervision.refinement=none"]
    best = found(supervision_of((), *run), cam=12, cam_par=0, walk=15, walk_par=0)
    assert not any("refinement" in word for word in best.words)


def test_masks_of_255_alone_are_refused():
    maker = AFALabels()
    study, own = study_of(TuneSettings(checkpoint="a", scores=SCORES, alpha=(2.0,), walk_steps=(1,)), maker)
    tallies = tallies_of({"cam": 1, "cam_par": 1, own: 1, f"{own}+par": 1})
    for tally in tallies.values():
        tally.total.zero_()
    with pytest.raises(UserError, match="need masks that show classes or background, got 255") as raised:
        found_of(study._replace(scores=SCORES), tallies, own=own, labeled=90, masks=())
    assert raised.value.arguments == ("data.val_split",)


def test_a_photo_without_targets_leaves_numbers(tmp_path):
    maker = AFALabels()
    study, own = study_of(TuneSettings(checkpoint="a", scores=SCORES, alpha=(2.0,), walk_steps=(1,)), maker)
    study = study._replace(scores=SCORES)
    tallies = tallies_of({"cam": 15, "cam_par": 14, own: 13, f"{own}+par": 12}, photos=1)
    for tally in tallies.values():
        for _ in range(2):
            tally.add(torch.zeros(len(SCORES), 2, 2, dtype=torch.long))
    best = found_of(study, tallies, own=own, labeled=90, masks=(1, 2))
    content = write_tuned(tmp_path, best, study, tallies).read_text()
    assert json.loads(content, parse_constant=pytest.fail)["spread"][0] > 0


def test_a_single_background_score_is_refused_before_the_work():
    maker = AFALabels(background=0.45)
    with pytest.raises(UserError, match=r"need two background scores .* got 0.45 alone") as raised:
        study_of(TuneSettings(checkpoint="a", scores=(0.45,)), maker)
    assert raised.value.arguments == ("scores",)
