"""Words of earlier versions, and words that Hydra cannot parse."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from tests.commands import composed

from afa_wsss.cli.words import as_hydra_wants
from afa_wsss.errors import UserError


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("inference.crf=true", "inference.refinement=crf"),
        ("inference.crf=False", "inference.refinement=none"),
        ("++inference.crf=true", "inference.refinement=crf"),
        ("inference.crf=true,false", "inference.refinement=crf,none"),
    ],
)
def test_crf_is_a_refinement(word, wanted, caplog):
    with caplog.at_level(logging.INFO, logger="afa_wsss"):
        assert as_hydra_wants([word, "seed=1"]) == [wanted, "seed=1"]
    assert [record.getMessage() for record in caplog.records] == [f"{word} is now called {wanted}"]


def test_words_of_today_say_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="afa_wsss"):
        as_hydra_wants(["inference.refinement=par"])
    assert not caplog.records


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.parametrize("place", range(4))
def test_the_flag_of_sweeps_may_stand_anywhere(flag, place):
    words = ["experiment=demo", "seed=0,1", "data.root=x"]
    assert as_hydra_wants([*words[:place], flag, *words[place:]]) == [flag, *words]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("--experiment=demo", "experiment=demo"), ("--data.root", "data.root=..."), ("--seed=1", "seed=1")],
)
def test_settings_have_no_dashes(word, meant):
    with pytest.raises(UserError, match=f"need settings without dashes, got {word}; write {meant}, or see --help"):
        as_hydra_wants(["data=folder", word])
    assert as_hydra_wants(["--cfg", "job", "--config-dir=mine"]) == ["--cfg", "job", "--config-dir=mine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output_dir="], "need a folder, got an empty name; leave it out, or give a path"),
        (["output_dir=''", "experiment=demo"], "need a folder, got an empty name"),
        (
            ["-m", "seed=0,1", "output_dir=runs/a"],
            "need hydra.sweep.dir=runs/a for the folder of a sweep, got output_dir",
        ),
    ],
)
def test_a_folder_that_would_be_ignored_is_refused(words, message):
    with pytest.raises(UserError, match=message) as raised:
        as_hydra_wants(words)
    assert raised.value.arguments == ("output_dir",)


@pytest.mark.parametrize("flags", [["-m"], ["--config-dir", "mine"], []])
def test_a_config_stands_behind_flags(tmp_path, flags):
    """Argparse takes no word behind a flag that has words before and behind it."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(composed("experiment=demo").config))
    found = as_hydra_wants([*flags, f"config={path}", "seed=0,1"])
    assert found[: len(flags)] == flags
    assert found[-2:] == [f"config={path}", "seed=0,1"]


@pytest.mark.parametrize("word", ["experiment=demo", "ablation=par", "sweep=ablation"])
def test_a_config_holds_its_experiment(tmp_path, word):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(composed("experiment=demo").config))
    with pytest.raises(UserError, match=f"need config or {word.partition('=')[0]}.*got both"):
        as_hydra_wants([f"config={path}", word])
    assert as_hydra_wants([f"config={path}", "sweep=thresholds"])


def test_a_config_does_not_say_where_another_run_goes(tmp_path):
    """Nor what it goes on from: the run would be resumed, or set aside."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(composed("experiment=demo", "output_dir=runs/a", "resume=auto").config))
    settings = composed(f"config={path}").settings
    assert settings.resume is None
    assert "runs/a" not in settings.output_dir


def test_the_old_word_wins_over_a_recipe():
    assert composed("experiment=voc12_mit_b1", "inference.crf=false").settings.inference.refinement == "none"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inference.crf=true", "inference.refinement=par"], "need inference.refinement alone, got inference.crf too"),
        (["inference.crf=maybe"], "need true or false, got maybe; or give inference.refinement"),
    ],
)
def test_words_that_say_no_refinement_are_refused(words, message):
    with pytest.raises(UserError, match=message) as raised:
        as_hydra_wants(words)
    assert raised.value.arguments[0] == "inference.crf"


def test_a_config_of_an_earlier_version_starts_again(tmp_path):
    config = composed("experiment=demo").config
    config["inference"] = {"scales": [1.0], "mirror": False, "cam_scales": [1.0], "crf": True}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert composed(f"config={tmp_path / 'config.yaml'}").settings.inference.refinement == "crf"


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("data.root=~/photos", f"data.root='{Path.home()}/photos'"),
        ("output_dir=~/run", f"output_dir='{Path.home()}/run'"),
        ("root=/x/old~1", "root='/x/old~1'"),
        ("data.root=~/a,/b", f"data.root='{Path.home()}/a',/b"),
        ("data.root='~/a'", "data.root='~/a'"),
        ("~logger", "~logger"),
        ("~logger=none", "~logger=none"),
    ],
)
def test_a_home_is_written_out_and_quoted_for_hydra(word, wanted):
    assert as_hydra_wants([word]) == [wanted]


def test_a_home_folder_that_the_shell_leaves_is_expanded():
    assert composed("data.root=~/photos").config["data"]["root"] == str(Path.home() / "photos")
