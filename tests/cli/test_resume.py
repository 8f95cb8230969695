"""A run that is cut short loses nothing, and goes on as if it had not been."""

from __future__ import annotations

import json
import signal

import pytest
import torch
from PIL import Image
from tests.commands import composed, run_command, small_run, write_small_set
from tests.run_folder import checkpoint, read

from afa_wsss.api.train import train
from afa_wsss.cli import train as training
from afa_wsss.errors import UserError
from afa_wsss.training.callbacks import Checkpoints
from afa_wsss.training.module import AFAModule

STEPS = 6
"""Four steps are an epoch; validation is at step 3 and 6."""


@pytest.fixture(autouse=True)
def _ctrl_c_works_on():
    """Lightning makes a process deaf to Ctrl-C once it has heard it."""
    heard = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, heard)


def words(root, folder, *more):
    """Without dropout nothing random is left but crops, which are seeded by epoch and photo."""
    steps = [f"trainer.max_steps={STEPS}", "model.dropout=0", "callbacks=none", "logger=csv"]
    return [*small_run(root), *steps, f"output_dir={folder}", *more]


@pytest.fixture
def stop(monkeypatch):
    """Lets training go until a batch, then raises."""

    def stop_at(batch, error):
        monkeypatch.undo()
        seen, step = [], AFAModule.training_step

        def training_step(self, batch_of_photos, batch_index):
            seen.append(batch_of_photos.names)
            if len(seen) == batch + 1:
                raise error
            return step(self, batch_of_photos, batch_index)

        monkeypatch.setattr(AFAModule, "training_step", training_step)
        return seen

    return stop_at


def assert_equal_weights(found, expected):
    for name, value in expected["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][name], value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def uninterrupted(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run_command(training.main, *words(root, folder)) == 0
    return folder


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_ctrl_c_leaves_a_checkpoint_that_goes_on_as_if_nothing_had_been(
    root, tmp_path, stop, monkeypatch, uninterrupted, steps
):
    first, second = tmp_path / "first", tmp_path / "second"
    stop(steps, KeyboardInterrupt())
    assert run_command(training.main, *words(root, first)) == 130
    assert read(first)["global_step"] == steps
    monkeypatch.undo()
    assert run_command(training.main, *words(root, second, f"resume={checkpoint(first)}")) == 0
    found, expected = read(second), read(uninterrupted)
    assert found["global_step"] == expected["global_step"] == STEPS
    assert found["epoch"] == expected["epoch"]
    assert found["lr_schedulers"][0]["last_epoch"] == STEPS
    assert_equal_weights(found, expected)


@pytest.mark.parametrize("steps", [3, 5])
def test_a_killed_process_goes_on_from_the_last_write(root, tmp_path, stop, monkeypatch, uninterrupted, steps):
    """Written after step 4 by the interval, and after step 3 by validation; no one is asked at the end."""
    first, second = tmp_path / "first", tmp_path / "second"
    stop(steps, MemoryError("killed"))
    monkeypatch.setattr(Checkpoints, "on_exception", lambda *_: None)
    with pytest.raises(MemoryError):
        run_command(training.main, *words(root, first, "trainer.checkpoint_interval=2"))
    assert read(first)["global_step"] == min(steps, 4)
    monkeypatch.undo()
    assert run_command(training.main, *words(root, second, f"resume={checkpoint(first)}")) == 0
    assert_equal_weights(read(second), read(uninterrupted))


def test_an_error_saves_too_and_says_how_to_go_on(root, tmp_path, stop, capsys):
    stop(2, RuntimeError("CUDA out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        run_command(training.main, *words(root, tmp_path / "run"))
    assert read(tmp_path / "run")["global_step"] == 2
    assert f"stopped; go on after step 2 with: resume={checkpoint(tmp_path / 'run')}" in capsys.readouterr().out


def test_an_error_in_validation_saves_too(root, tmp_path, monkeypatch):
    monkeypatch.setattr(AFAModule, "validation_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_command(training.main, *words(root, tmp_path / "run"))
    assert read(tmp_path / "run")["global_step"] == 3


def test_before_the_first_step_there_is_nothing_to_save(root, tmp_path, stop):
    stop(0, KeyboardInterrupt())
    assert run_command(training.main, *words(root, tmp_path / "run")) == 130
    assert not checkpoint(tmp_path / "run").exists()


def test_gathered_gradients_count_with_their_step(root, tmp_path, stop):
    """Two batches a step: the half step that Ctrl-C throws away is done again, and has changed no batch norm before."""
    halves = ["trainer.accumulate_grad_batches=2", "trainer.max_steps=3"]
    assert run_command(training.main, *words(root, tmp_path / "whole", *halves)) == 0
    seen = stop(3, KeyboardInterrupt())
    assert run_command(training.main, *words(root, tmp_path / "first", *halves)) == 130
    assert read(tmp_path / "first")["global_step"] == 1
    again = stop(10, KeyboardInterrupt())
    go_on = [*halves, f"resume={checkpoint(tmp_path / 'first')}"]
    assert run_command(training.main, *words(root, tmp_path / "second", *go_on)) == 0
    assert read(tmp_path / "second")["global_step"] == 3
    assert again[:2] == seen[2:]
    assert len(again) == 4
    assert_equal_weights(read(tmp_path / "second"), read(tmp_path / "whole"))


def test_the_same_folder_may_go_on(root, tmp_path, stop, monkeypatch):
    stop(4, KeyboardInterrupt())
    assert run_command(training.main, *words(root, tmp_path / "run")) == 130
    monkeypatch.undo()
    assert run_command(training.main, *words(root, tmp_path / "run", f"resume={checkpoint(tmp_path / 'run')}")) == 0
    assert read(tmp_path / "run")["global_step"] == STEPS


def test_the_best_so_far_comes_along(root, tmp_path, uninterrupted, monkeypatch):
    """A run that never beats it has it all the same."""
    monkeypatch.setattr(Checkpoints, "on_validation_end", lambda *_: None)
    go_on = ["trainer.max_steps=7", f"resume={checkpoint(uninterrupted)}"]
    assert run_command(training.main, *words(root, tmp_path / "run", *go_on)) == 0
    best = [folder / "checkpoints" / "best.ckpt" for folder in (uninterrupted, tmp_path / "run")]
    assert best[0].read_bytes() == best[1].read_bytes()


def test_a_best_that_was_found_after_training_is_not_written_over_by_a_worse_one(root, tmp_path, monkeypatch):
    """Four steps are validated after step 3 and at the end; five more at step 6, and at the end."""
    found, log_dict = iter([10.0, 60.0, 30.0, 20.0]), AFAModule.log_dict

    def log_scores(self, scores, **how):
        log_dict(self, {**scores, "val/miou": next(found)} if "val/miou" in scores else scores, **how)

    monkeypatch.setattr(AFAModule, "log_dict", log_scores)
    for steps, more in ((4, []), (7, ["resume=auto"])):
        assert run_command(training.main, *words(root, tmp_path / "run", f"trainer.max_steps={steps}", *more)) == 0
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 4
    assert best["callbacks"]["Checkpoints"]["best_score"] == 60
    assert read(tmp_path / "run")["callbacks"]["Checkpoints"]["best_score"] == 60


MISTAKES = {
    "nowhere": (["resume=/nope.ckpt"], "resume: need a checkpoint, found none at /nope.ckpt"),
    "too few steps": (["trainer.max_steps=5"], f"need trainer.max_steps of at least the {STEPS} steps of "),
    "another network": (["trainer.max_steps=9", "model.decoder_width=32"], "need weights that fit the model"),
    "no interval": (
        ["trainer.checkpoint_interval=0", "resume=null"],
        "need at least 1, got checkpoint_interval=0",
    ),
}


@pytest.mark.parametrize(("more", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_end_the_command_with_one_line(root, tmp_path, uninterrupted, capfd, more, message):
    given = [f"resume={checkpoint(uninterrupted)}", *more]
    given = given[1:] if any(word.startswith("resume=") for word in more) else given
    assert run_command(training.main, *words(root, tmp_path / "run", *given)) == 1
    assert message in capfd.readouterr().err


def test_what_fails_after_the_last_step_is_finished_by_resuming(root, tmp_path, monkeypatch, capsys):
    step = AFAModule.validation_step

    def validation_step(self, batch, batch_index):
        if self.trainer.global_step == STEPS:
            raise UserError("need a mask that can be decoded")
        return step(self, batch, batch_index)

    monkeypatch.setattr(AFAModule, "validation_step", validation_step)
    assert run_command(training.main, *words(root, tmp_path / "run")) == 1
    resume = f"resume={checkpoint(tmp_path / 'run')}"
    assert f"stopped after the last step; score it and write the report with: {resume}" in capsys.readouterr().out
    monkeypatch.undo()
    assert run_command(training.main, *words(root, tmp_path / "run", resume)) == 0
    assert (tmp_path / "run" / "report.html").is_file()


OTHER_SCORES = {
    "scales": ["inference.scales=[0.5]"],
    "labels": ["supervision.background=0.9", "supervision.walk_background=0.9"],
    "no refinement": ["inference.refinement=none"],
}


@pytest.mark.parametrize("more", OTHER_SCORES.values(), ids=OTHER_SCORES.keys())
def test_a_finished_run_is_scored_again_where_scores_may_be_others(root, tmp_path, uninterrupted, more):
    """The scores are those of a whole validation with these settings, with none left of the one before."""
    scores = []
    for name, words_of_run in (("finished", [f"resume={checkpoint(uninterrupted)}"]), ("again", [])):
        go_on = words_of_run or [f"resume={checkpoint(tmp_path / 'finished')}", "trainer.max_steps=6"]
        assert run_command(training.main, *words(root, tmp_path / name, *go_on, *more)) == 0
        scores.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    before = json.loads((uninterrupted / "metrics.json").read_text())
    assert scores[0] == scores[1] != before
    assert ("val/par_miou" in scores[0]) == ("inference.refinement=none" not in more)


def test_what_an_earlier_run_left_is_set_aside(root, tmp_path, stop, monkeypatch, capsys):
    """A new run in its folder, killed before its first checkpoint, begins anew: it takes nothing of the other's."""
    folder = tmp_path / "run"
    assert run_command(training.main, *words(root, folder)) == 0
    kept = ("checkpoints/best.ckpt", "metrics.json", "config.yaml", "run.json")
    earlier = {name: (folder / name).read_bytes() for name in kept}
    stop(0, KeyboardInterrupt())
    assert run_command(training.main, *words(root, folder, "supervision.high=0.2")) == 130
    assert f"checkpoints and scores of an earlier run in {folder} are in earlier_1 now" in capsys.readouterr().out
    assert {name: (folder / "earlier_1" / name).read_bytes() for name in earlier} == earlier
    assert not any((folder / name).exists() for name in kept[:2])
    assert (folder / "config.yaml").read_bytes() != earlier["config.yaml"]
    monkeypatch.undo()
    again = stop(99, KeyboardInterrupt())
    assert run_command(training.main, *words(root, folder, "supervision.high=0.2", "resume=auto")) == 0
    assert len(again) == STEPS


def test_a_checkpoint_of_elsewhere_brings_its_own_best(root, tmp_path, uninterrupted):
    folder = tmp_path / "run"
    assert run_command(training.main, *words(root, folder, "seed=7", "trainer.max_steps=2")) == 0
    assert run_command(training.main, *words(root, folder, f"resume={checkpoint(uninterrupted)}")) == 0
    best = [place / "checkpoints" / "best.ckpt" for place in (folder, uninterrupted, folder / "earlier_1")]
    assert best[0].read_bytes() == best[1].read_bytes() != best[2].read_bytes()


def test_the_same_words_again_lose_no_step(root, tmp_path, uninterrupted, stop, monkeypatch, capsys):
    """As a scheduler gives them after it has stopped the job."""
    longer = ["trainer.max_steps=9", f"resume={checkpoint(uninterrupted)}"]
    stop(2, KeyboardInterrupt())
    assert run_command(training.main, *words(root, tmp_path / "run", *longer)) == 130
    assert read(tmp_path / "run")["global_step"] == STEPS + 2
    monkeypatch.undo()
    seen = stop(99, KeyboardInterrupt())
    assert run_command(training.main, *words(root, tmp_path / "run", *longer)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"this run has gone on from that checkpoint before; going on from {checkpoint(tmp_path / 'run')}" in said
    assert len(seen) == 1
    assert read(tmp_path / "run")["global_step"] == 9


def test_the_same_words_again_name_what_is_cut_off(root, tmp_path, uninterrupted, stop, monkeypatch, capsys):
    longer = ["trainer.max_steps=9", "trainer.checkpoint_interval=1", f"resume={checkpoint(uninterrupted)}"]
    stop(2, KeyboardInterrupt())
    assert run_command(training.main, *words(root, tmp_path / "run", *longer)) == 130
    monkeypatch.undo()
    whole = checkpoint(tmp_path / "run").read_bytes()
    checkpoint(tmp_path / "run").write_bytes(whole[: len(whole) // 2])
    assert run_command(training.main, *words(root, tmp_path / "run", *longer)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{checkpoint(tmp_path / 'run')} cannot be read" in said
    assert f"going on from {tmp_path / 'run' / 'checkpoints' / 'previous.ckpt'}" in said


def test_other_training_photos_are_told(tmp_path, capsys):
    root = write_small_set(tmp_path / "photos")
    assert run_command(training.main, *words(root, tmp_path / "run", "trainer.max_steps=3")) == 0
    for photo in (root / "JPEGImages").glob("train_*.jpg"):
        with Image.open(photo) as image:
            dark = image.point(lambda value: value // 2)
        dark.save(photo)
    go_on = ["trainer.max_steps=4", f"resume={checkpoint(tmp_path / 'run')}"]
    assert run_command(training.main, *words(root, tmp_path / "run", *go_on)) == 0
    assert "resumed with training photos 8 (" in capsys.readouterr().out


def test_python_has_to_give_the_settings(root, uninterrupted, tmp_path):
    run = composed(*words(root, tmp_path / "run", f"resume={checkpoint(uninterrupted)}"))
    with pytest.raises(UserError, match="need the settings as plain data, to compare them with those of"):
        train(run.settings)
