"""Every group and every experiment composes into typed settings."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from tests.commands import composed, settings_of_run, write_small_set

from afa_wsss.api.recipes import recipe_folder
from afa_wsss.api.settings import PredictSettings, PseudoLabelSettings, ScoreSettings, TrainSettings
from afa_wsss.cli import evaluate, predict, pseudo_label
from afa_wsss.cli.front import compose_words
from afa_wsss.errors import UserError
from afa_wsss.supervision import PAR, DenseCRF, NoRefinement

CONF = recipe_folder()
SOURCES = Path(__file__).parents[2] / "src" / "afa_wsss"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
EXPERIMENTS = [option for group, option in OPTIONS if group == "experiment"]


def test_the_groups_of_the_design_are_there():
    wanted = {"model", "data", "supervision", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger"}
    assert wanted | {"sweep", "experiment"} <= set(GROUPS)


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    """Words without which some options are not complete: the recipe for photos counts them."""
    root = write_small_set(tmp_path_factory.mktemp("partshapes"))
    photos = ["data=partshapes", f"data.root={root}"]
    return {"pretrain_nano_affinity": ["model.pretrained=null"], "photos": photos, "afa_photos": photos}


@pytest.mark.parametrize(("group", "option"), [pair for pair in OPTIONS if pair[0] != "sweep"])
def test_every_option_composes(needed, group, option):
    more = needed.get(option, [])
    assert isinstance(composed(f"{group}={option}", *more).settings, TrainSettings)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_makes_labels_and_losses(needed, experiment):
    more = needed.get(experiment, [])
    settings = composed(f"experiment={experiment}", *more).settings
    assert settings.loss["classification"].is_active(0)
    late = [term for name, term in settings.loss.items() if name != "classification"]
    assert all(not term.is_active(settings.supervision.first_step - 1) for term in late)


def test_the_papers_recipe():
    settings = composed("experiment=voc12_mit_b1").settings
    supervision = settings.supervision
    assert (supervision.low, supervision.high, supervision.radius, supervision.alpha) == (0.35, 0.55, 8, 2.0)
    assert supervision.refinement == PAR(dilations=(1, 2, 4, 8, 12, 24), steps=10, w1=0.3, w2=0.3, w3=0.01)
    assert {name: term.weight for name, term in settings.loss.items()} == {
        "classification": 1.0,
        "segmentation": 0.1,
        "affinity": 0.1,
        "regularization": pytest.approx(0.01 * 1e-7),
    }
    assert settings.data.crop_size == 512
    assert settings.inference.cam_scales == supervision.cam_scales == (1.0, 0.5, 1.5)
    assert (settings.scheduler.max_steps, settings.scheduler.warmup_steps) == (20000, 1500)


def test_coco_has_longer_phases_and_more_refinement():
    settings = composed("experiment=coco14_mit_b1").settings
    supervision = settings.supervision
    assert (supervision.first_step, supervision.walk_first_step) == (5001, 15001)
    assert supervision.affinity_from_walk
    assert supervision.refinement.steps == 15
    assert settings.trainer.max_steps == 80000


def test_ablations_leave_their_part_out():
    settings = composed("experiment=no_par").settings
    assert settings.supervision.refinement == NoRefinement()
    assert settings.inference.refinement == "none"
    without = composed("experiment=no_affinity").settings
    assert without.supervision.walk_first_step is None
    assert not without.loss["affinity"].is_active(10**6)


@pytest.mark.parametrize("form", ["supervision.refinement", "supervision/refinement"])
@pytest.mark.parametrize(("option", "kind"), [("par", PAR), ("crf", DenseCRF), ("none", NoRefinement)])
@pytest.mark.parametrize("recipe", ["demo", "photos", "voc12_mit_b1", "coco14_mit_b1"])
def test_a_refinement_is_chosen_by_its_name(needed, recipe, form, option, kind):
    """Also where the recipe sets the settings of another one."""
    settings = composed(f"experiment={recipe}", f"{form}={option}", *needed.get(recipe, ())).settings
    assert isinstance(settings.supervision.refinement, kind)


@pytest.mark.parametrize("recipe", ["demo", "photos"])
def test_inference_is_chosen_by_its_name(needed, recipe):
    """A recipe's own values are an option too, and do not stay behind another one."""
    settings = composed(f"experiment={recipe}", "inference=paper", *needed.get(recipe, ())).settings.inference
    assert settings == composed("experiment=voc12_mit_b1").settings.inference
    assert composed(f"experiment={recipe}", *needed.get(recipe, ())).settings.inference.refinement == "par"


def test_a_part_takes_all_of_its_own_settings():
    settings = composed("loss.regularization.sigma_rgb=10", "supervision.refinement.w1=0.5").settings
    assert settings.loss["regularization"].sigma_rgb == 10
    assert settings.supervision.refinement.w1 == 0.5


def test_the_terms_begin_with_the_labels():
    losses = composed("supervision.first_step=7").settings.loss
    assert [losses[name].first_step for name in ("segmentation", "affinity", "regularization")] == [7, 7, 7]


def test_the_data_root_is_stored_absolute():
    assert settings_of_run("data.root=photos")["data"]["root"] == str(Path.cwd() / "photos")


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        (evaluate.COMMAND, ScoreSettings, ["checkpoint=a"]),
        (predict.COMMAND, PredictSettings, ["checkpoint=a", "input=b"]),
        (pseudo_label.COMMAND, PseudoLabelSettings, ["checkpoint=a"]),
    ],
)
def test_the_other_commands_compose(command, kind, words):
    assert isinstance(compose_words(command, tuple(words)).settings, kind)
    with pytest.raises(UserError, match="need a value for checkpoint"):
        compose_words(command, ())


def test_a_run_starts_again_from_its_config(tmp_path):
    first = composed("experiment=demo", "supervision.low=0.03", "seed=4")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in first.linked.items() if key != "config"}))
    again = composed(f"config={path}", "data.root=/photos").config
    assert {**again, "config": None, "output_dir": None} == {**first.config, "output_dir": None}


def test_other_words_win_over_the_config_and_what_refers_to_them_follows(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(composed("experiment=demo").linked))
    words = [f"config={path}", "trainer.max_steps=9", "supervision.first_step=2", "supervision.refinement=crf"]
    settings = composed(*words, "model=mit_b0").settings
    assert (settings.trainer.max_steps, settings.scheduler.max_steps) == (9, 9)
    assert settings.loss["affinity"].first_step == 2
    assert isinstance(settings.supervision.refinement, DenseCRF)
    assert (settings.model.backbone, settings.model.pooling) == ("mit_b0", "max")
    assert settings.optimizer.lr == 5e-4  # still the demo's


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found none at"), ("a: [", "need YAML"), ("a: 1", "it holds others")],
)
def test_a_config_that_is_none_is_refused(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        composed(f"config={path}")
    assert raised.value.arguments == ("config",)


@pytest.mark.parametrize(("table", "wanted"), [("loss", "LossTerm"), ("callbacks", "Callback"), ("logger", "Logger")])
def test_a_part_of_another_kind_is_refused(table, wanted):
    with pytest.raises(UserError, match=rf"need a subclass of [\w.]+\.{wanted}, got ReLU") as raised:
        composed(f"+{table}.mine._target_=torch.nn.ReLU")
    assert raised.value.arguments == (f"{table}.mine",)


def test_each_default_stands_once():
    """YAML files hold differences: none repeats the default of the dataclass that it configures."""
    defaults = TrainSettings()
    for group in ("model", "data", "optimizer", "scheduler", "trainer", "inference", "supervision"):
        kind = getattr(defaults, group)
        for path in (CONF / group).glob("*.yaml"):
            content = yaml.safe_load(path.read_text()) or {}
            for name, value in content.items():
                if name in {field.name for field in fields(kind)} and name not in ("backbone", "name"):
                    default = getattr(kind, name)
                    assert value != (list(default) if isinstance(default, tuple) else default), f"{path}: {name}"


def test_settings_below_the_commands_are_never_dictionaries():
    """No ``settings["..."]`` outside cli, and no class of cli that repeats the fields of another."""
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if "cli" not in path.parts:
            found = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
            names = [node.value.id for node in found if isinstance(node.value, ast.Name)]
            assert "settings" not in names, path
    words = __import__("afa_wsss.cli.train", fromlist=["TrainWords"]).TrainWords
    own = set(words.__annotations__)
    assert is_dataclass(words)
    assert own == {"config"}
