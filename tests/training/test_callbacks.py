from __future__ import annotations

from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from afa_wsss.errors import UserError
from afa_wsss.evaluation.label_shares import LabelShares
from afa_wsss.training.callbacks import (
    Checkpoints,
    LabelCurves,
    MaskWriter,
    Montages,
    PlainConfig,
    Throughput,
    UnevenValidation,
)
from afa_wsss.training.callbacks import throughput as throughput_file
from afa_wsss.training.callbacks.checkpoints import VALIDATION
from afa_wsss.training.callbacks.montages import sampled, shown
from afa_wsss.training.module import AFAModule, Inspection
from afa_wsss.types import Batch, Labels

PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=np.uint8)


class Module(AFAModule):
    """What the callbacks ask of a module."""

    device = torch.device("cpu")

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.palette, self.class_names, self.label_shares = PALETTE, ("cat", "dog"), LabelShares(2)


class Trainer(lightning.Trainer):
    """What the callbacks ask of a trainer."""

    callback_metrics = sanity_checking = is_global_zero = loggers = None
    global_step = world_size = log_every_n_steps = strategy = None

    def __init__(self):
        self.callback_metrics = {}
        self.sanity_checking, self.is_global_zero = False, True
        self.state = SimpleNamespace(fn=TrainerFn.FITTING)
        self.loggers = []
        self.global_step, self.world_size, self.log_every_n_steps = 7, 2, 1
        self.strategy = SimpleNamespace(model=None, broadcast=lambda value: value)
        counts = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
        progress = {name: {"total": dict(counts), "current": dict(counts)} for name in (VALIDATION, "epoch_progress")}
        loops = {"fit_loop": progress}
        self._checkpoint_connector = SimpleNamespace(_get_loops_state_dict=lambda: loops)

    def save_checkpoint(self, filepath, weights_only=None):
        filepath.parent.mkdir(parents=True, exist_ok=True)
        filepath.write_text(str(self.global_step))


def validate(trainer, callback, step, score):
    trainer.global_step, trainer.callback_metrics = step, {"val/miou": torch.tensor(score)}
    callback.on_validation_end(trainer, Module())


@pytest.fixture
def trainer():
    return Trainer()


@pytest.fixture
def batch():
    return Batch(
        images=torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8),
        image_labels=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        boxes=torch.tensor([[0, 16, 0, 24], [0, 8, 0, 20]]),
        names=("a", "folder/b"),
        masks=torch.ones(2, 16, 24, dtype=torch.uint8),
    )


@pytest.fixture
def found():
    """One inspection for each size of photos."""
    inspections = []
    for height, width in ((16, 24), (8, 20)):
        label = torch.ones(1, height, width, dtype=torch.uint8)
        stages = {"cam": Labels(label, torch.rand(1, 2, height, width)), "pseudo_label": Labels(label + 1)}
        branch = {"segmentation": Labels(label)}
        inspections.append(
            Inspection(stages, branch, torch.zeros(1, 2), torch.rand(1, 6, 6), (2, 3), torch.rand(1, 2, 2, 3))
        )
    return inspections


def test_best_is_the_highest_score_and_last_the_last_step(tmp_path, trainer):
    keep = Checkpoints(str(tmp_path))
    for step, score in ((3, 20.0), (6, 30.0), (9, 10.0)):
        validate(trainer, keep, step, score)
    trainer.global_step = 11
    keep.on_train_end(trainer, Module())
    assert (tmp_path / "best.ckpt").read_text() == "6"
    assert (tmp_path / "last.ckpt").read_text() == "11"


def test_a_validation_after_training_may_find_the_best(tmp_path, trainer):
    keep = Checkpoints(str(tmp_path))
    keep.on_train_end(trainer, Module())
    trainer.state.fn = TrainerFn.VALIDATING
    validate(trainer, keep, 7, 5.0)
    assert (tmp_path / "best.ckpt").read_text() == "7"


def test_without_a_score_there_is_no_best(tmp_path, trainer):
    keep = Checkpoints(str(tmp_path))
    keep.on_validation_end(trainer, Module())
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_resumed_run_knows_what_to_beat(tmp_path, trainer):
    keep, resumed = Checkpoints(str(tmp_path / "a")), Checkpoints(str(tmp_path / "b"))
    validate(trainer, keep, 3, 20.0)
    resumed.load_state_dict(keep.state_dict())
    validate(trainer, resumed, 6, 10.0)
    assert not (tmp_path / "b" / "best.ckpt").exists()


def test_the_configuration_goes_into_the_checkpoint():
    checkpoint = {}
    PlainConfig({"seed": 3}).on_save_checkpoint(Trainer(), Module(), checkpoint)
    assert checkpoint == {"config": {"seed": 3}}


@pytest.mark.parametrize(("stage", "value"), [("segmentation", 1), ("pseudo_label", 2), (None, 2), ("cam", 1)])
def test_masks_are_cut_to_the_photo_and_carry_the_palette(tmp_path, trainer, batch, found, stage, value):
    MaskWriter(str(tmp_path), stage=stage).on_validation_batch_end(trainer, Module(), found, batch, 0)
    with Image.open(tmp_path / "a.png") as first, Image.open(tmp_path / "folder" / "b.png") as second:
        assert (first.size, second.size) == ((24, 16), (20, 8))
        assert (np.asarray(second) == value).all()
        assert second.getpalette()[:9] == PALETTE.ravel().tolist()


def test_masks_and_pictures_of_photos_that_were_shrunk(tmp_path, trainer, batch, found):
    large = batch._replace(masks=torch.ones(2, 64, 96, dtype=torch.uint8), full_sizes=((64, 96), (32, 80)))
    for seen, size in zip(found, large.full_sizes, strict=True):
        labels = Labels(torch.ones(1, *size, dtype=torch.uint8))
        seen.stages["pseudo_label"] = seen.branch["segmentation"] = labels
    MaskWriter(str(tmp_path)).on_validation_batch_end(trainer, Module(), found, large, 0)
    with Image.open(tmp_path / "a.png") as first, Image.open(tmp_path / "folder" / "b.png") as second:
        assert (first.size, second.size) == ((96, 64), (80, 32))
    pictures = Montages(str(tmp_path), photos=2)
    pictures.on_validation_batch_end(trainer, Module(), found, large, 0)
    assert {picture.shape for picture in pictures.rows[0].values()} == {(16, 24, 3)}
    assert {picture.shape for picture in pictures.rows[1].values()} == {(8, 20, 3)}


def test_pictures_are_drawn_from_less_than_a_large_photo(batch):
    labels = Labels(torch.ones(1, 40, 3000, dtype=torch.uint8))
    stages = {"cam": Labels(labels.labels, torch.rand(1, 2, 40, 3000)), "pseudo_label": labels}
    found = Inspection(
        stages, {"segmentation": labels}, torch.zeros(1, 2), torch.rand(1, 6, 6), (2, 3), torch.rand(1, 2, 2, 3)
    )
    photo = torch.zeros(1, 3, 40, 3000, dtype=torch.uint8)
    drawn = shown(Batch(photo, torch.ones(1, 2), torch.tensor([[0, 40, 0, 3000]]), ("a",)), found, 0)
    shapes = {array.shape[:2] for array in (drawn.photo, *drawn.heat.values(), *drawn.labels.values())}
    assert shapes == {(14, 1024)}


def test_sampled_values_are_those_at_the_centers():
    maps = torch.arange(12).view(2, 6)
    assert sampled(maps, (2, 6)).tolist() == maps.tolist()
    assert sampled(maps, (1, 2)).tolist() == [[7, 10]]
    assert sampled(maps, (4, 6)).tolist() == maps.repeat_interleave(2, dim=0).tolist()


def test_masks_show_a_stage_that_there_is(tmp_path, trainer, batch, found):
    with pytest.raises(UserError, match="need a stage of segmentation, cam, pseudo_label; got 'walk'"):
        MaskWriter(str(tmp_path), stage="walk").on_validation_batch_end(trainer, Module(), found, batch, 0)


def test_the_last_stage_of_a_label_maker_without_any_is_refused(tmp_path, trainer, batch, found):
    without = [seen._replace(stages={}) for seen in found]
    with pytest.raises(UserError, match="need a label maker with pixel labels of its own to write them"):
        MaskWriter(str(tmp_path), stage=None).on_validation_batch_end(trainer, Module(), without, batch, 0)


def test_montages_hold_the_first_photos_of_each_validation(tmp_path, trainer, batch, found):
    pictures = Montages(str(tmp_path), photos=3, cell=40)
    for step in (7, 9):
        trainer.global_step = step
        pictures.on_validation_start(trainer, Module())
        for index in range(3):
            pictures.on_validation_batch_end(trainer, Module(), found, batch, index)
        assert len(pictures.rows) == 3
        pictures.on_validation_end(trainer, Module())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000007.png", "step_000009.png"]


def test_montages_of_photos_without_masks(tmp_path, trainer, batch, found):
    pictures = Montages(str(tmp_path), photos=1)
    pictures.on_validation_batch_end(trainer, Module(), found, batch._replace(masks=None), 0)
    assert list(pictures.rows[0]) == ["photo", "CAM", "affinity of a point", "pseudo label", "segmentation branch"]


def test_shares_of_labels_are_those_since_the_last_logged_step(trainer, batch, monkeypatch):
    logged, module, curves = {}, Module(), LabelCurves()
    module.label_shares, module.label_memory = LabelShares(2), None
    monkeypatch.setattr(Module, "log_dict", lambda _, values: logged.update(values), raising=False)
    trainer.log_every_n_steps = 2
    for step, label in ((7, 1), (8, 255), (9, 0), (10, 0)):
        trainer.global_step = step
        module.label_shares.update(torch.full((2, 16, 24), label, dtype=torch.uint8), batch.boxes)
        curves.on_train_batch_end(trainer, module, None, batch, 0)
        if step == 8:
            assert {name: value.item() for name, value in logged.items()} == {
                "train/labels/foreground": 50,
                "train/labels/background": 0,
                "train/labels/unknown": 50,
                "train/labels/class/cat": 50,
                "train/labels/class/dog": 0,
            }
    assert logged["train/labels/background"] == 100
    logged.clear()
    curves.on_train_batch_end(trainer, module, None, batch, 0)
    assert not logged  # no labels were made since


def test_shares_of_labels_are_those_of_all_batches_of_a_step(trainer, batch, monkeypatch):
    """Three batches a step: those of a step that is still gathering are not logged with the one before."""
    logged, module, curves = [], Module(), LabelCurves()
    module.label_shares, module.label_memory = LabelShares(2), None
    monkeypatch.setattr(
        Module, "log_dict", lambda _, values: logged.append(values["train/labels/background"].item()), raising=False
    )
    trainer.log_every_n_steps = 1
    for steps, label in ((0, 0), (0, 0), (1, 1), (1, 0), (1, 1), (2, 1)):
        trainer.global_step = steps
        module.label_shares.update(torch.full((2, 16, 24), label, dtype=torch.uint8), batch.boxes)
        curves.on_train_batch_end(trainer, module, None, batch, 0)
    assert logged == pytest.approx([200 / 3, 100 / 3], abs=1e-3)


def test_throughput_leaves_validation_out(trainer, batch, monkeypatch):
    now, logged, module, count = [1.0], {}, Module(), Throughput()
    monkeypatch.setattr(throughput_file.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Module, "log", lambda _, name, value: logged.__setitem__(name, value), raising=False)
    count.on_train_batch_start(trainer, module, batch, 0)
    now[0] = 2.0
    count.on_validation_start(trainer, module)
    now[0] = 100.0
    count.on_train_batch_start(trainer, module, batch, 1)
    now[0] = 103.0
    count.on_train_batch_end(trainer, module, None, batch, 1)
    assert logged["train/images_per_second"] == pytest.approx(2 * 2 / (1 + 3))


def test_throughput_counts_batches_that_gradients_are_accumulated_over(trainer, batch, monkeypatch):
    now, logged, module, count = [1.0], [], Module(), Throughput()
    monkeypatch.setattr(throughput_file.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Module, "log", lambda _, name, value: logged.append(value), raising=False)
    trainer.global_step, trainer.log_every_n_steps, trainer.world_size = 0, 2, 1
    count.on_train_start(trainer, module)
    for index in range(12):  # steps of two batches; two photos in 1 and in 3 seconds
        count.on_train_batch_start(trainer, module, batch, index)
        now[0] += 1 + 2 * (index % 2)
        trainer.global_step = (index + 1) // 2
        count.on_train_batch_end(trainer, module, None, batch, index)
    assert logged == pytest.approx([1, 1, 1])


def test_one_process_needs_no_equal_buffers(trainer):
    trainer.strategy.model = torch.nn.Linear(1, 1)
    UnevenValidation().on_validation_start(trainer, Module())
    UnevenValidation().on_validation_end(trainer, Module())
