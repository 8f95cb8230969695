"""W&B Sweeps: the space of Optuna, and words of an agent that land where they should."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tests.commands import composed, run_command, settings_of_run, small_run, write_small_set
from tests.offline_wandb import offline_runs
from wandb import wandb_agent

from afa_wsss.api.recipes import recipe_folder
from afa_wsss.cli import train as training
from afa_wsss.cli import wandb_sweep
from afa_wsss.errors import UserError

SPACES = ("thresholds", "loss_weights", "labels")
WORDS = ("experiment=voc12_mit_b1", "data.root=/photos")
ABSENT = importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec("optuna") is None
needs_optuna = pytest.mark.skipif(ABSENT, reason='needs pip install "afa-wsss[optuna]"')


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The sweep that the command writes for these words."""
    monkeypatch.chdir(tmp_path)

    def write(*words):
        assert run_command(wandb_sweep.main, *words) == 0
        return yaml.safe_load((tmp_path / "wandb_sweep.yaml").read_text())

    return write


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What wandb's own agent starts for parameters of a sweep: the command and its environment."""
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "of the agent")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))

    def start(sweep, values):
        found = []
        monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **given: found.append(given) or SimpleNamespace())
        agent = wandb_agent.Agent(None, None)
        agent._sweep_command = list(sweep["command"])
        arguments = {name: {"value": value} for name, value in json.loads(json.dumps(values)).items()}
        command = {"type": "run", "run_id": "r1", "program": sweep["program"], "args": arguments}
        assert "exception" not in agent._process_command(command)
        return found[0]["command"], found[0]["env"]

    return start


def optuna_space(space):
    """What Hydra's plugin makes of ``conf/sweep``, by the names without ``++``."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    training.COMMAND._prepare()
    with initialize_config_dir(str(recipe_folder()), version_base="1.3"):
        words = [f"sweep={space}", "hydra/sweeper=optuna", "data.root=/photos"]
        config = compose("train", overrides=words, return_hydra_config=True)
        params = OmegaConf.to_container(config.hydra.sweeper, resolve=False)["params"]
        params = {key: config.hydra.sweeper.params[key] for key in params}
    found, fixed = create_params_from_overrides([f"{key}={value}" for key, value in params.items()])
    assert not fixed
    return {name.removeprefix("++"): distribution for name, distribution in found.items()}


def distribution_of(parameter):
    """The distribution of Optuna for a parameter of wandb."""
    from optuna import distributions

    if "values" in parameter:
        return distributions.CategoricalDistribution(parameter["values"])
    kinds = {
        "uniform": distributions.UniformDistribution,
        "int_uniform": distributions.IntUniformDistribution,
        "log_uniform_values": distributions.LogUniformDistribution,
    }
    return kinds[parameter["distribution"]](parameter["min"], parameter["max"])


@needs_optuna
@pytest.mark.parametrize("space", SPACES)
def test_the_space_is_that_of_optuna(written, space):
    sweep = written(f"sweep={space}", *WORDS)
    found = {name: distribution_of(parameter) for name, parameter in sweep["parameters"].items()}
    assert found == optuna_space(space)
    assert (sweep["method"], sweep["metric"]) == ("bayes", {"name": "objective", "goal": "maximize"})
    assert (sweep["project"], sweep["name"]) == ("afa_wsss", f"voc12_mit_b1 {space}")


@needs_optuna
@pytest.mark.parametrize(
    "word",
    [
        "supervision.low=interval(0.1,0.4)",
        "supervision.low=tag(log,interval(0.1,0.4))",
        "supervision.low=interval(0,1)",
        "supervision.radius=int(interval(2,9))",
        "supervision.radius=range(2,12)",
        "supervision.radius=range(2,11,3)",
        "supervision.radius=choice(4,8)",
        "seed=0,1,2",
        "supervision.refinement=par,none",
        "trainer.deterministic=true,false",
    ],
)
def test_each_kind_of_word_is_what_the_plugin_draws_from(word):
    from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override as of_plugin

    (override,) = OverridesParser.create().parse_overrides([word])
    found, expected = distribution_of(wandb_sweep.parameter_of(override)), of_plugin(override)
    if getattr(expected, "step", 1) == 1:
        assert found == expected
    else:
        assert list(found.choices) == list(range(expected.low, expected.high + 1, expected.step))


@pytest.mark.parametrize("word", ["supervision.radius=tag(log,int(interval(1,8)))", "experiment=glob(*)"])
def test_what_wandb_cannot_draw_from_is_refused(word):
    (override,) = OverridesParser.create().parse_overrides([word])
    with pytest.raises(UserError, match="got "):
        wandb_sweep.parameter_of(override)


def at(config, name):
    for part in name.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("end", ["min", "max"])
def test_parameters_of_an_agent_land_where_they_should(written, started, space, end):
    sweep = written(f"sweep={space}", *WORDS)
    values = {name: parameter[end] for name, parameter in sweep["parameters"].items()}
    command, _ = started(sweep, values)
    assert command[1] == "afa-train"
    found = composed(*command[2:])
    assert {name: at(found.config, name) for name in values} == values
    assert found.config["output_dir"] == "outputs/voc12_mit_b1/sweep_s1/r1"
    logger = found.config["logger"]["wandb"]
    assert (logger["name"], logger["group"], logger["job_type"], logger["offline"]) == (None, None, "sweep", False)
    usual = settings_of_run(*WORDS)
    assert {key for key in usual if found.config[key] != usual[key]} <= {
        *(name.partition(".")[0] for name in values),
        "callbacks",
        "logger",
        "output_dir",
    }


def test_a_whole_number_does_for_a_setting_with_a_point(written, started):
    sweep = written("sweep=labels", *WORDS)
    command, _ = started(sweep, {"supervision.alpha": 1})
    assert composed(*command[2:]).config["supervision"]["alpha"] == 1.0


def test_words_change_and_fix_parts_of_the_space(written):
    sweep = written(
        "-m", "sweep=thresholds", *WORDS, "supervision.low=interval(0.01,0.05)", "supervision.high=0.6", "seed=0,1"
    )
    assert sweep["parameters"] == {
        "supervision.low": {"distribution": "uniform", "min": 0.01, "max": 0.05},
        "seed": {"values": [0, 1]},
    }
    assert "supervision.high=0.6" in sweep["command"]
    assert not any(word.startswith(("sweep=", "space=", "output=")) for word in sweep["command"])


def test_words_with_blanks_quotes_and_references_stay_as_typed(written, started):
    words = ("name='it is ${data.name}'", "data.root='/my photos'", "logger.wandb.project=mine", "output_dir=there")
    sweep = written("experiment=voc12_mit_b1", *words, "supervision.refinement=par,none")
    assert sweep["project"] == "mine"
    command, _ = started(sweep, {"supervision.refinement": "none"})
    found = composed(*command[2:]).config
    assert (found["name"], found["data"]["root"], found["output_dir"]) == ("it is voc12", "/my photos", "there")
    assert found["supervision"]["refinement"]["_target_"].endswith("NoRefinement")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sweep=thresholds", "logger=csv"), "need runs that are online"),
        (("sweep=thresholds", "logger.wandb.offline=true"), "need runs that are online"),
        (("sweep=thresholds", "callbacks.wandb_files=null"), "need the callback that logs objective"),
        ((), "need settings to search, got none"),
        (("sweep=thresholds", "trainer.max_step=3"), "did you mean max_steps?"),
        (("sweep=treshold",), "thresholds"),
        (("supervision.low=interval(1",), "need a value that can be parsed"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    assert run_command(wandb_sweep.main, *WORDS, *words) == 1
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_of_an_agent_stays_in_its_sweep_and_has_a_score(written, started, tmp_path):
    """The command of the agent itself, offline."""
    root = write_small_set(tmp_path / "partshapes")
    words = [*small_run(root), "trainer.max_steps=2", "trainer.val_check_interval=2", "callbacks=quiet"]
    sweep = written("sweep=loss_weights", *words)
    values = {"loss.segmentation.weight": 0.3, "loss.affinity.weight": 0.125, "loss.regularization.weight": 1.5e-9}
    command, surroundings = started(sweep, values)
    surroundings |= {"WANDB_MODE": "offline", "WANDB_DATA_DIR": str(tmp_path / "staging")}
    surroundings["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), surroundings["PATH"]])
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "demo" / "sweep_s1" / "r1"
    (run,) = offline_runs(folder)
    assert (run.run.sweep_id, run.run.run_id) == ("s1", "r1")
    assert (run.run.run_group, run.run.job_type, run.run.display_name) == ("", "sweep", "")
    assert {name: run.config[name] for name in values} == values  # of the sweep
    assert {name: at(run.config, name) for name in values} == values  # of the training
    scores = json.loads((folder / "metrics.json").read_text())
    assert run.summary["objective"] == pytest.approx(scores["val/miou"])
