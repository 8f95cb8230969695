"""``experiment=photos``: the numbers follow from the data, and stand in the run's config.yaml."""

from __future__ import annotations

import pytest
import torch
import yaml
from PIL import Image
from tests.commands import composed, run_command, write_small_set

from afa_wsss.cli import train as training
from afa_wsss.errors import UserError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The recipe on 8 photos."""
    root = write_small_set(tmp_path_factory.mktemp("partshapes"))
    return ["experiment=photos", "data=partshapes", f"data.root={root}"]


def test_a_cpu_gets_a_small_backbone(no_gpu, words):
    settings = composed(*words).settings
    assert settings.model.backbone == "tf_efficientnet_lite0"
    assert (settings.model.pooling, settings.data.crop_size, settings.data.max_side) == ("average", 256, 320)
    assert (settings.supervision.radius, settings.trainer.max_steps) == (4, 400)
    assert (settings.supervision.walk_radius, settings.trainer.val_check_interval) == (8, 400)
    assert settings.supervision.refinement.dilations == (1, 2, 4, 6, 12)


def test_a_gpu_gets_the_papers_backbone_and_crop(monkeypatch, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = composed(*words).settings
    assert (settings.model.backbone, settings.model.pooling) == ("mit_b1", "max")
    assert (settings.data.crop_size, settings.data.batch_size, settings.supervision.radius) == (512, 8, 8)
    assert settings.supervision.refinement.dilations == (1, 2, 4, 8, 12, 24)
    assert settings.trainer.val_check_interval == settings.trainer.max_steps // 8
    weights = {name: term.weight for name, term in composed("experiment=voc12_mit_b1").settings.loss.items()}
    assert {name: term.weight for name, term in settings.loss.items()} == weights
    forced = composed(*words, "trainer.accelerator=cpu").settings
    assert (forced.model.backbone, forced.data.crop_size) == ("tf_efficientnet_lite0", 256)


def test_what_a_user_sets_moves_what_follows_from_it(no_gpu, words):
    settings = composed(*words, "data.crop_size=128", "trainer.max_steps=1000", "model=mit_nano").settings
    assert (settings.model.backbone, settings.supervision.radius, settings.data.max_side) == ("mit_nano", 2, 160)
    assert settings.supervision.walk_first_step == settings.supervision.first_step + 200
    assert settings.loss["segmentation"].first_step == settings.supervision.first_step
    assert composed(*words, "supervision.radius=7").settings.supervision.radius == 7


def test_phases_follow_the_number_of_photos(no_gpu, words):
    large = composed(*words, "trainer.max_steps=20").settings.supervision
    small = composed(*words, "trainer.max_steps=20", "data.batch_size=1").settings.supervision
    assert (large.first_step, small.first_step) == (8, 10)


@pytest.mark.parametrize(
    "more", ["data.total_batch=2", "trainer.accumulate_grad_batches=2", "trainer.devices=2", "trainer.num_nodes=2"]
)
def test_steps_have_the_crops_of_all_devices(no_gpu, words, more):
    """Two crops a step, 1.25 times over 8 photos, is step 5; a tenth of all steps is less."""
    settings = composed(*words, "trainer.max_steps=10", "data.batch_size=1", more).settings
    alone = composed(*words, "trainer.max_steps=10", "data.batch_size=1").settings
    assert (settings.supervision.first_step, alone.supervision.first_step) == (5, 6)


def test_the_numbers_stand_in_config_yaml(no_gpu, words, tmp_path):
    small = ["model=mit_nano", "model.pretrained=null", "data.crop_size=48", "data.batch_size=2", "data.num_workers=0"]
    small += ["trainer.max_steps=2", "data.val_split=null", "callbacks=none", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words, *small, "trainer.accelerator=cpu") == 0
    text = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert "${photos." not in text
    config = yaml.safe_load(text)
    assert (config["supervision"]["radius"], config["supervision"]["walk_radius"]) == (1, 2)
    assert config["data"]["max_side"] == 60
    assert config["supervision"]["refinement"]["dilations"] == [1, 2]


def test_without_photos_there_is_one_line(capfd):
    assert run_command(training.main, "experiment=photos") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "error: need a value for data.root, got none; add data.root=... to the command"
    assert run_command(training.main, "experiment=photos", "data.root=/nowhere/at/all") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: data.root: need root to be a folder of photos, got /nowhere/at/all")


@pytest.mark.parametrize("name", ["max_steps", "accumulate_grad_batches", "num_nodes", "val_check_interval"])
def test_numbers_below_1_are_refused_by_their_names(no_gpu, words, name):
    with pytest.raises(UserError, match=f"need at least 1, got {name}=-5") as refused:
        composed(*words, f"trainer.{name}=-5")
    assert refused.value.arguments == (f"trainer.{name}",)


def test_photos_that_were_added_count(no_gpu, tmp_path):
    """In a notebook, which composes again in the same process."""
    words = ["experiment=photos", "data=folder", f"data.root={tmp_path}", "data.batch_size=1", "trainer.max_steps=1000"]
    found = []
    for count in (200, 240):
        for number in range(count):
            Image.new("RGB", (1, 1)).save(tmp_path / f"{number}.png")
        rows = [f"{number}.png,{('cat', 'dog')[number % 2]},train" for number in range(count)]
        (tmp_path / "labels.csv").write_text("\n".join(["file,labels,split", *rows]))
        found.append(composed(*words).settings.supervision.first_step)
    assert found == [250, 300]
