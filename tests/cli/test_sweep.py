"""Sweeps: a failed job is reported and counted, the others run, and the exit code says so."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import yaml
from hydra.core.hydra_config import HydraConfig
from tests.commands import composed, run_command

from afa_wsss.cli import messages, predict, processes
from afa_wsss.cli import train as training
from afa_wsss.cli.words import as_hydra_wants
from afa_wsss.errors import UserError
from afa_wsss.report.sweep_jobs import SweepJob, read_job, sweep_jobs, varied_words, write_job

WORDS = ("data.root=/photos", "callbacks=none", "logger=none")


def needs(extra, module):
    absent = importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(module) is None
    return pytest.mark.skipif(absent, reason=f'needs pip install "afa-wsss[{extra}]"')


def score_of_seed(composed):
    """In place of a training: fails for seeds 1 (the user's mistake) and 2 (a bug), else returns a score."""
    seed = composed.settings.seed
    if seed == 1:
        raise UserError("need another seed, got 1")
    if seed == 3:
        return None
    return 60.0 / (seed - 2) if seed < 9 else float(seed)


COMMAND = replace(training.COMMAND, job=score_of_seed)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Exit code and jobs of a sweep over these words."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = run_command(COMMAND.run, "-m", *WORDS, "hydra.sweep.dir=sweep", *words)
        return code, list(sweep_jobs(tmp_path / "sweep").values())

    return run


def statuses(jobs):
    return [job.status for job in jobs]


def test_the_other_jobs_run_and_the_exit_code_tells(sweep, capfd):
    code, jobs = sweep("seed=0,1,2,4")
    assert code == 1
    assert statuses(jobs) == ["done", "failed", "failed", "done"]
    assert [job.score for job in jobs] == [-30.0, None, None, 30.0]
    said = capfd.readouterr()
    assert "error: job 1: need another seed, got 1\n" in said.err
    assert "error: job 2: ZeroDivisionError: " in said.err
    assert "Traceback" in said.err.partition("job 2")[0]  # a bug of ours
    assert "sweep: 2 of 4 jobs done, 2 failed" in said.out
    assert "job 1 (seed=1): need another seed, got 1" in said.out


def test_a_sweep_without_failures_ends_with_0(sweep, capfd):
    code, jobs = sweep("seed=4,5")
    assert (code, statuses(jobs)) == (0, ["done", "done"])
    assert "sweep: 2 of 2 jobs done\n" in capfd.readouterr().out


def test_the_command_that_compares_the_jobs_can_be_pasted(sweep, capfd):
    assert sweep("seed=4,5", "hydra.sweep.dir='my sweep'")[0] == 0
    assert "compare them: afa-sweep-report 'my sweep'\n" in capfd.readouterr().out


def test_later_batches_run_after_a_failed_one(sweep):
    assert sweep("seed=1,4,5", "hydra.sweeper.max_batch_size=1")[1][-1].status == "done"


def test_jobs_of_an_earlier_sweep_in_the_folder_do_not_count(sweep):
    assert sweep("seed=4,5,1")[0] == 1
    code, jobs = sweep("seed=4,5")
    assert code == 0
    assert statuses(jobs) == ["done", "done", "failed"]  # the third is still there, from before


def test_words_that_cannot_be_composed_end_a_sweep_before_its_first_job(sweep, capfd):
    code, jobs = sweep("seed=0,4", "trainer.max_step=3")
    assert (code, jobs) == (1, [])
    assert "did you mean max_steps?" in capfd.readouterr().err


def test_ctrl_c_ends_the_sweep(tmp_path, monkeypatch, capfd):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    command = replace(training.COMMAND, job=interrupted)
    assert run_command(command.run, "-m", *WORDS, "hydra.sweep.dir=sweep", "seed=0,1") == 130
    assert statuses(sweep_jobs(tmp_path / "sweep").values()) == ["stopped"]


@needs("joblib", "hydra_plugins.hydra_joblib_launcher")
def test_jobs_run_at_the_same_time_in_processes_of_their_own(sweep, capfd):
    code, jobs = sweep("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,4,5")
    assert (code, statuses(jobs)) == (1, ["failed", "done", "done"])
    assert "job 0 (seed=1): need another seed, got 1" in capfd.readouterr().out


@needs("submitit", "hydra_plugins.hydra_submitit_launcher")
def test_submitit_runs_jobs_too(sweep, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    words = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5", "hydra.launcher.submitit_folder=jobs"]
    code, jobs = sweep(*words, "seed=1,4")
    assert (code, statuses(jobs)) == (1, ["failed", "done"])


SLURM = {
    "sbatch": """
        for script; do :; done
        commands=$(cat "$script")  # the file is moved when this returns
        for task in 0 1; do
            SLURM_JOB_ID=7$task SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_JOB_NODELIST=here SLURM_NTASKS=1 \\
            SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 sh -c "$commands" > /dev/null 2>&1 &
        done
        echo "Submitted batch job 7"
    """,
    "srun": """
        until case "$1" in *python*) true;; *) false;; esac; do shift; done
        exec "$@"
    """,
    "sacct": "printf 'JobID|State|NodeList\\n7_0|RUNNING|here\\n7_1|RUNNING|here\\n'",
}
"""Stand-ins for SLURM's commands: they start both jobs of an array here."""


@needs("submitit", "hydra_plugins.hydra_submitit_launcher")
def test_slurm_runs_an_array_of_jobs(sweep, tmp_path, monkeypatch):
    for name, script in SLURM.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.submitit_folder=jobs"]
    code, jobs = sweep(*words, "seed=1,4")
    assert (code, statuses(jobs)) == (1, ["failed", "done"])


@needs("optuna", "hydra_plugins.hydra_optuna_sweeper")
@pytest.mark.parametrize("choose", [min, max], ids=["first", "last"])  # of the grid, in place of a random trial
def test_a_failed_trial_has_no_score_and_ends_no_study(sweep, tmp_path, monkeypatch, choose):
    monkeypatch.setattr("random.choice", choose)
    code, jobs = sweep(
        "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=4", "seed=1,4,5,12"
    )
    assert code == 1
    assert sorted(statuses(jobs)) == ["done", "done", "done", "failed"]
    assert jobs[choose(0, 3)].status == "failed"
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    assert best["best_value"] == 30.0  # the highest


@needs("optuna", "hydra_plugins.hydra_optuna_sweeper")
def test_a_failure_rate_of_0_ends_at_the_first_failure(sweep, capfd):
    words = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.max_failure_rate=0.0", "seed=1,1")
    code, jobs = sweep(*words)
    assert (code, statuses(jobs)) == (1, ["failed"])
    assert "Traceback" not in capfd.readouterr().err


@needs("optuna", "hydra_plugins.hydra_optuna_sweeper")
def test_a_search_needs_scores(sweep, capfd):
    code, jobs = sweep("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "seed=3,3")
    assert (code, statuses(jobs)) == (1, ["failed", "failed"])
    assert jobs[0].error is not None
    assert "need a score for the sweeper" in jobs[0].error
    assert "Traceback" not in capfd.readouterr().err


@needs("optuna", "hydra_plugins.hydra_optuna_sweeper")
def test_a_search_needs_a_command_with_scores(tmp_path, monkeypatch, capfd):
    """It is refused before its job, which may take hours, has run in vain."""
    monkeypatch.chdir(tmp_path)
    begun = []
    command = replace(predict.COMMAND, job=begun.append)
    words = ("-m", "checkpoint=a", "input=b", "inference.gate=0.3,0.6", "hydra.sweep.dir=sweep")
    assert run_command(command.run, *words, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1") == 1
    assert "need a command with a score for the sweeper, this one has none; leave out" in capfd.readouterr().err
    assert begun == []
    assert run_command(command.run, *words) == 0
    assert len(begun) == 2


@needs("optuna", "hydra_plugins.hydra_optuna_sweeper")
def test_a_database_keeps_trials_for_the_next_command(sweep, tmp_path):
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    words = [f"hydra.sweeper.storage={storage}", "hydra.sweeper.study_name=mine", "hydra.sweeper.n_trials=1"]
    for _ in range(2):
        assert sweep("hydra/sweeper=optuna", *words, "seed=4,5")[0] == 0
    study = optuna.load_study(study_name="mine", storage=storage)
    assert len(study.trials) == 2
    assert {trial.value for trial in study.trials} <= {30.0, 20.0}


def test_jobs_of_the_ablation_have_the_step_that_they_train_as_type(tmp_path, monkeypatch):
    found = []

    def train(settings, *_, **more):
        given = settings.logger["wandb"]._wandb_init
        found.append((given["name"], given["group"], given["job_type"]))
        raise UserError("need no training")

    monkeypatch.setattr(training, "train", train)
    monkeypatch.chdir(tmp_path)
    words = ["sweep=ablation", "data.root=/photos", "callbacks=none", "logger=wandb", "name=mine"]
    assert run_command(training.main, "-m", *words, "hydra.sweep.dir=sweep", "ablation=par,walk") == 1
    assert found == [("mine_0", "sweep", "par"), ("mine_1", "sweep", "walk")]


def test_a_run_alone_is_of_no_group():
    given = composed("logger=wandb", "name=mine").config["logger"]["wandb"]
    assert (given["name"], given["group"], given["job_type"]) == ("mine", None, "train")


def test_a_failed_job_leaves_no_wandb_run_to_the_next(tmp_path, monkeypatch):
    """A job that fails after its wandb run has begun; the other job has another run."""
    started = []

    def train(settings, *_, **more):
        started.append(settings.logger["wandb"].experiment.id)
        raise UserError("need finite weights")

    monkeypatch.setattr(training, "train", train)
    monkeypatch.chdir(tmp_path)
    words = ["-m", "data.root=/photos", "callbacks=none", "logger=wandb", "hydra.sweep.dir=sweep", "seed=0,1"]
    assert run_command(training.main, *words) == 1
    assert len(set(started)) == 2
    assert wandb.run is None
    assert len(list(tmp_path.rglob("run-*.wandb"))) == 2


def test_processes_of_a_job_start_no_sweep(monkeypatch):
    """Lightning starts them by the words of the job, among which is ``sweep=...``."""
    job = SimpleNamespace(
        mode=processes.RunMode.MULTIRUN,
        overrides=SimpleNamespace(task=["sweep=ablation", "ablation=par"]),  # without hydra's own
        runtime=SimpleNamespace(output_dir="out"),
        run=SimpleNamespace(dir=None),
    )
    monkeypatch.setattr(HydraConfig, "get", lambda: job)
    monkeypatch.setattr(processes, "read_write", lambda _: processes.contextmanager(lambda: (yield))())
    found = ["--config-dir", "mine", "hydra.searchpath=[file:///a]"]
    words = ["afa-train", "-m", "sweep=ablation", *found]
    monkeypatch.setattr(sys, "argv", words)
    with processes.one_job():
        assert sorted(sys.argv[1:4]) == sorted(found)
        assert sys.argv[4:] == ["sweep=ablation", "ablation=par", "hydra.mode=RUN"]
    assert sys.argv == words


def test_an_extra_that_is_absent_is_named():
    error = messages.MissingConfigException("no", "hydra/sweeper/optuna", ["basic"])
    assert messages.user_message(error) == (
        'need hydra/sweeper to be one of basic; got optuna; pip install "afa-wsss[optuna]"'
    )


def test_optuna_looks_for_the_highest_score_unless_told_otherwise():
    words = as_hydra_wants(["hydra/sweeper=optuna", "hydra.sweeper.n_jobs=4"])
    assert words[2:] == ["hydra.sweeper.direction=maximize", "hydra.sweeper.max_failure_rate=1.0"]
    assert as_hydra_wants(["seed=1"]) == ["seed=1"]


def test_a_job_is_read_as_it_was_written(tmp_path):
    job = SweepJob(3, ("seed=1",), 12.5, "failed", 2.0, None, "need this")
    write_job(tmp_path / "3", job)
    assert read_job(tmp_path / "3") == job
    assert read_job(tmp_path) is None
    (tmp_path / "job.json").write_text(json.dumps({"number": 1}))
    assert read_job(tmp_path) is None
    killed = SweepJob(4, (), 20.0)
    write_job(tmp_path / "4", killed)
    assert sweep_jobs(tmp_path, since=15.0) == {tmp_path / "4": killed}
    assert (job.reason, killed.reason) == ("need this", "ended without a message: killed, or still running")


def test_words_that_vary():
    jobs = [SweepJob(0, ("a=1", "b=2"), 0.0), SweepJob(1, ("a=1", "b=3"), 0.0)]
    assert varied_words(jobs) == {0: ["b=2"], 1: ["b=3"]}
    assert varied_words(jobs[:1]) == {0: ["a=1", "b=2"]}
