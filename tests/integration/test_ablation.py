"""sweep=ablation: every step leaves out what it says, for PartShapes and VOC, and trains."""

from __future__ import annotations

import json

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from tests.commands import quiet_libraries, run_command, settings_of_run, write_small_set

from afa_wsss.api.recipes import recipe_folder
from afa_wsss.cli import train as training
from afa_wsss.cli.compose import register
from afa_wsss.cli.words import as_hydra_wants

STEPS = ("baseline", "par", "affinity", "walk", "regularization")
RECIPES = {"partshapes": "demo_regularized", "voc12": "voc12_mit_b1", "coco14": "coco14_mit_b1"}


def kept(settings):
    """The parts of the method that a step has."""
    return {
        "PAR": settings["supervision"]["refinement"]["_target_"].endswith(".PAR"),
        "affinity": settings["loss"]["affinity"]["weight"] > 0,
        "walk": settings["supervision"]["walk_first_step"] is not None,
        "L_reg": settings["loss"]["regularization"]["weight"] > 0,
        "CRF": settings["inference"]["refinement"] == "crf",
    }


def test_each_step_adds_one_part():
    for data, recipe in RECIPES.items():
        steps = [settings_of_run("sweep=ablation", f"ablation={step}", f"data={data}") for step in STEPS]
        assert {one["name"] for one in steps} == {recipe}
        assert [sum(kept(one).values()) for one in steps] == [0, 1, 2, 3, 5]
        assert [kept(one)["L_reg"] for one in steps] == [False, False, False, False, True]


def test_a_step_is_its_recipe_but_for_what_it_leaves_out():
    found = settings_of_run("sweep=ablation", "ablation=walk", "data=voc12")
    recipe = settings_of_run("experiment=voc12_mit_b1", "loss.regularization.weight=0.0", "inference.refinement=none")
    assert found == recipe


def test_another_recipe_may_be_named():
    assert settings_of_run("sweep=ablation", "ablation=par", "experiment=demo")["name"] == "demo"
    assert as_hydra_wants(["sweep=ablation", "data=folder"]) == ["sweep=ablation", "data=folder", "experiment=photos"]
    assert as_hydra_wants(["sweep=thresholds"]) == ["sweep=thresholds"]


def test_every_step_trains_and_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_small_set(tmp_path / "partshapes")
    words = ["data.crop_size=48", "data.batch_size=2", "data.eval_batch_size=3", "data.num_workers=0", "seed=3"]
    words += ["model.pretrained=null", "supervision.first_step=1", "trainer.max_steps=3", "trainer.accelerator=cpu"]
    words += ["callbacks=none", "hydra.sweep.dir=sweep", f"data.root={root}"]
    assert run_command(training.main, "-m", "sweep=ablation", *words) == 0
    folders = [tmp_path / "sweep" / f"{number}_{step}_seed3" for number, step in enumerate(STEPS)]
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    assert all("val/miou" in found for found in scores)
    assert ["val/crf_miou" in found for found in scores] == [False] * 4 + [True]
    settings = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in folders]
    assert [sum(kept(one).values()) for one in settings] == [0, 1, 2, 3, 5]


SPACES = ("thresholds", "loss_weights", "labels")


@pytest.mark.parametrize("name", SPACES)
def test_grids_compose(name):
    """Every setting of a grid exists, and every value is one that it takes."""
    for setting, values in params_of(f"sweep={name}").items():
        for value in values.split(","):
            settings_of_run("experiment=voc12_mit_b1", f"{setting.lstrip('+')}={value}")


@pytest.mark.parametrize("name", SPACES)
def test_spaces_are_distributions(name):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason='needs pip install "afa-wsss[optuna]"')
    quiet_libraries()
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    params = params_of(f"sweep={name}", "hydra/sweeper=optuna")
    space, fixed = create_params_from_overrides([f"{key}={value}" for key, value in params.items()])
    assert (set(space), fixed) == (set(params), {})
    assert params.keys() == params_of(f"sweep={name}").keys()


def params_of(*words):
    register("train", training.TrainWords, training.PARTS)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(recipe_folder()), version_base="1.3"):
        config = compose("train", as_hydra_wants(words), return_hydra_config=True)
        return dict(config.hydra.sweeper.params)
