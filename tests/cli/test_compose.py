"""Every group and every experiment composes into objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from afa_wsss.cli import build, schema, shell
from afa_wsss.errors import UserError

CONF = Path(shell.config_folder())
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
EXPERIMENTS = [option for group, option in OPTIONS if group == "experiment"]
NOT_HERE = "${hydra:runtime.output_dir}"


def settings_of(*overrides, command="train"):
    """Resolved settings; the run's folder is known within a run alone."""
    schema.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(command, overrides=list(overrides))
    if command == "train":
        config.callbacks, config.logger = {}, {}
    return config


def plain(*overrides):
    return build.plain(settings_of("data.root=/photos", "output_dir=out", *overrides))


def test_the_groups_of_the_design_are_there():
    wanted = {"model", "data", "supervision", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger"}
    assert wanted | {"sweep", "experiment"} <= set(GROUPS)


@pytest.mark.parametrize(("group", "option"), [pair for pair in OPTIONS if pair[0] != "sweep"])
def test_every_option_composes(group, option):
    assert plain(f"{group}={option}")["name"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_makes_supervision_and_losses(experiment):
    settings = plain(f"experiment={experiment}")
    supervision = build.make_supervision(settings["supervision"])
    losses = build.make_losses(settings["loss"])
    assert losses["classification"].is_active(0)
    late = [term for name, term in losses.items() if name != "classification"]
    assert all(not term.is_active(supervision.first_step - 1) for term in late)


def test_the_papers_recipe():
    settings = plain("experiment=voc12_mit_b1")
    supervision = build.make_supervision(settings["supervision"])
    assert (supervision.low, supervision.high, supervision.radius, supervision.alpha) == (0.35, 0.55, 8, 2.0)
    assert supervision.par.dilations == (1, 2, 4, 8, 12, 24)
    assert {name: term["weight"] for name, term in settings["loss"].items()} == {
        "classification": 1.0,
        "segmentation": 0.1,
        "affinity": 0.1,
        "regularization": pytest.approx(0.01 * 1e-7),
    }
    assert settings["data"]["crop_size"] == 512
    assert settings["inference"]["cam_scales"] == [1.0, 0.5, 1.5]
    assert settings["scheduler"] | {"max_steps": 20000, "warmup_steps": 1500} == settings["scheduler"]


def test_coco_has_longer_phases_and_more_refinement():
    settings = plain("experiment=coco14_mit_b1")
    supervision = build.make_supervision(settings["supervision"])
    assert (supervision.first_step, supervision.walk_first_step) == (5001, 15001)
    assert supervision.affinity_from_walk
    assert supervision.par.steps == 15
    assert settings["trainer"]["max_steps"] == 80000


def test_ablations_leave_their_part_out():
    assert build.make_supervision(plain("experiment=no_par")["supervision"]).par is None
    without = plain("experiment=no_affinity")
    assert build.make_supervision(without["supervision"]).walk_first_step is None
    assert not build.make_losses(without["loss"])["affinity"].is_active(10**6)


def test_the_terms_begin_with_the_labels():
    settings = plain("supervision.first_step=7")
    assert [settings["loss"][name]["first_step"] for name in ("segmentation", "affinity")] == [7, 7]


def test_the_data_root_is_stored_absolute():
    assert plain("data.root=photos")["data"]["root"] == str(Path.cwd() / "photos")


def test_missing_values_are_named():
    with pytest.raises(UserError, match=r"need a value for data\.root, got none; add data\.root="):
        build.plain(settings_of("data=voc12"))


@pytest.mark.parametrize("command", ["evaluate", "predict", "pseudo_label", "data_partshapes"])
def test_the_other_commands_compose(command):
    config = settings_of(command=command)
    assert OmegaConf.get_type(config) is schema.SCHEMAS[command]
