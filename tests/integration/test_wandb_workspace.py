"""The workspace that is saved in wandb, and whether runs log what its charts show."""

from __future__ import annotations

import json
import re

import pytest
import wandb
from tests.commands import run_command, small_run, write_small_set
from tests.offline_wandb import OfflineRun, offline_runs, records

from afa_wsss.api import wandb_workspace as api
from afa_wsss.api.wandb_workspace import REFINED, WandbWorkspaceSettings, make_workspace
from afa_wsss.cli import train as training
from afa_wsss.cli import wandb_workspace
from afa_wsss.errors import UserError

pytest.importorskip("wandb_workspaces", reason='needs pip install "afa-wsss[workspace]"')
pytestmark = pytest.mark.filterwarnings(
    "ignore:Pydantic V1 style:DeprecationWarning",  # inside wandb-workspaces
)


@pytest.fixture
def saved(monkeypatch):
    """Views that were saved, in place of wandb's server."""
    from wandb_workspaces.workspaces import interface, internal

    views = []

    def upsert(view):
        views.append(view)
        return {"upsertView": {"view": {"name": "nw-abc123-v", "id": "1"}}}

    monkeypatch.setattr(internal, "upsert_view2", upsert)
    monkeypatch.setattr(interface, "get_app_url", lambda _: "https://wandb.ai")
    monkeypatch.setattr(wandb, "Api", lambda: None)
    return views


def spec_of(view):
    return json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))["section"]


def charts_of(spec):
    """All charts by section, with their titles."""
    return {section["name"]: section["panels"] for section in spec["panelBankConfig"]["sections"]}


def named(node, key):
    """Values by that key, anywhere in plain data."""
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name == key)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from named(child, key)


def table_keys(chart):
    """Names of the tables that a custom chart reads."""
    fields = (one for queried in named(chart, "args") for one in queried if one.get("name") == "tableKey")
    return {one["value"] for one in fields}


def metrics_of(spec):
    """Names that charts read, and the patterns of others."""
    charts = [chart for found in charts_of(spec).values() for chart in found]
    names = {name for chart in charts for key in ("metrics", "mediaKeys") for name in chart["config"].get(key, [])}
    names |= {name for chart in charts for name in table_keys(chart)}
    names |= {value for chart in charts if chart["viewType"] == "Weave" for value in named(chart, "val")}
    axes = {chart["config"]["xAxis"] for chart in charts if "xAxis" in chart["config"]} | {spec["settings"]["xAxis"]}
    order = {one["key"]["name"] for run_set in spec["runSets"] for one in run_set["sort"]["keys"]}
    return names | axes | order, {pattern for chart in charts for pattern in named(chart, "metricRegex")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[OfflineRun]:
    """Two runs: with the dense CRF, and with PAR after the branch; both find their background scores themselves."""
    folder = tmp_path_factory.mktemp("runs")
    root = write_small_set(folder / "partshapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_DATA_DIR", str(folder / "staging"))
        words = ["-m", *small_run(root), "trainer.val_check_interval=2", "logger=wandb"]
        words += ["supervision.low=auto", "supervision.high=auto", "inference.refinement=crf,par"]
        assert run_command(training.main, *words, "hydra.sweep.dir=sweep") == 0
    wandb.teardown()  # writes what is still waiting
    return offline_runs(folder / "sweep")


@pytest.mark.slow
def test_runs_log_what_every_chart_shows(saved, runs):
    make_workspace(WandbWorkspaceSettings("me")).save()
    names, patterns = metrics_of(spec_of(saved[0]))
    assert {"val/cam_miou", "val/iou_bars_table", "val/photo_table", "val/montage", "objective"} <= names
    assert len(patterns) >= 3
    logged = [{name for row in run.history for name in row} | run.summary.keys() for run in runs]
    for found, refined in zip(logged, REFINED[::-1], strict=True):
        assert names - found == set(REFINED) - {refined}
        assert [pattern for pattern in patterns if not any(re.search(pattern, name) for name in found)] == []


@pytest.mark.slow
def test_custom_charts_are_those_of_wandb_itself(saved, runs):
    """``wandb.plot`` says in the run's config how each of its tables is drawn."""
    make_workspace(WandbWorkspaceSettings("me")).save()
    (log,) = runs[0].folder.glob("run-*.wandb")
    logged = [
        json.loads(item.value_json)["panel_config"]
        for record in records(log)
        for item in record.config.update
        if "visualize" in item.nested_key
    ]
    charts = [chart["config"] for chart in charts_of(spec_of(saved[0]))["Classes"] if chart["viewType"] == "Vega2"]
    keys = ("panelDefId", "fieldSettings", "stringSettings", "transform")
    drawn = {next(iter(table_keys(chart))): {key: chart[key] for key in keys} for chart in logged}
    shown = {next(iter(table_keys(chart))): {key: chart[key] for key in keys} for chart in charts}
    assert len(shown) == 2
    assert shown == drawn


def test_the_command_saves_a_view_and_prints_its_address(saved, capfd):
    assert run_command(wandb_workspace.main, "entity=me", "project=mine", "name=All of AFA") == 0
    assert "saved: https://wandb.ai/me/mine?nw=abc123" in capfd.readouterr().out
    (view,) = saved
    assert (view.entity, view.project, view.display_name) == ("me", "mine", "All of AFA")
    assert list(charts_of(spec_of(view))) == [
        "Scores by stage",
        "Losses",
        "Learning rates and throughput",
        "Labels",
        "Classes",
        "Photos",
    ]


def test_what_wandb_refuses_is_one_line(saved, monkeypatch, capfd):
    from wandb_workspaces.workspaces import internal

    def refuse(_):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(internal, "upsert_view2", refuse)
    assert run_command(wandb_workspace.main, "entity=me") == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "No API key configured. Use `wandb login` to log in." in said


def test_the_extra_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setattr(api, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=re.escape('pip install "afa-wsss[workspace]"')):
        make_workspace(WandbWorkspaceSettings("me"))


def test_an_entity_is_asked_for(capfd):
    assert run_command(wandb_workspace.main) == 1
    assert "need a value for entity" in capfd.readouterr().err
