"""The Trainer shows a progress bar where the callbacks hold one, and gives no advice that a user cannot act on."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from tests.commands import composed, quiet_libraries, run_command, small_run, write_small_set

from afa_wsss.cli import train
from afa_wsss.errors import UserError
from afa_wsss.training.callbacks import ProgressBar
from afa_wsss.training.trainer import DeviceSettings, TrainerSettings, evaluation_trainer, training_trainer

CPU = DeviceSettings(accelerator="cpu")


@pytest.mark.parametrize(
    ("by", "variables"),
    [
        ("torchrun", {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}),
        (
            "srun",
            {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
        ),
    ],
)
def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch, by, variables):
    """Each would be the first, and write the files of the run."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"to be the 2 processes that {by} started, got 1") as raised:
        evaluation_trainer(CPU, callbacks=[])
    assert raised.value.arguments == ("devices", "num_nodes")


@pytest.mark.filterwarnings("ignore:GPU available but not used")  # quiet in the commands
def test_a_mac_trains_on_its_cpu(monkeypatch):
    """Apple's GPUs have no float64, in which scores are summed."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("lightning.pytorch.accelerators.MPSAccelerator.is_available", lambda: True)
    trainer = evaluation_trainer(DeviceSettings(), callbacks=[])
    assert trainer.strategy.root_device.type == "cpu"
    with pytest.raises(UserError, match="need accelerator of auto, cpu or gpu, got mps"):
        evaluation_trainer(DeviceSettings(accelerator="mps"), callbacks=[])


def test_a_trainer_shows_the_bar_that_it_is_given_and_no_other():
    bar = ProgressBar()
    assert evaluation_trainer(CPU, callbacks=[bar]).progress_bar_callback is bar
    assert evaluation_trainer(CPU, callbacks=[]).progress_bar_callback is None


@pytest.mark.parametrize("choice", ["quiet", "none"])
def test_quiet_callbacks_bring_no_bar(choice, tmp_path):
    settings = composed(f"callbacks={choice}", "trainer.accelerator=cpu").settings
    callbacks = list(settings.callbacks.values())
    trainer = training_trainer(settings.trainer, callbacks=callbacks, loggers=[], folder=Path(tmp_path), validate=True)
    assert trainer.progress_bar_callback is None


def test_a_quiet_run_prints_no_bar_and_no_advice(tmp_path, capfd):
    root = write_small_set(tmp_path / "data")
    words = [*small_run(root), "callbacks=quiet", "trainer.max_steps=6", "trainer.log_every_n_steps=6"]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        assert run_command(train.main, *words, f"output_dir={tmp_path / 'run'}") == 0
    assert not [warning for warning in found if "logging interval" in str(warning.message)]
    assert not {"it/s", "Validation"} & set("".join(capfd.readouterr()).split())


def test_advice_on_short_epochs_is_not_shown():
    with warnings.catch_warnings(record=True) as found:
        quiet_libraries()
        warnings.warn("The number of training batches (4) is smaller than the logging interval", stacklevel=1)
    assert not found


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ("bf16-true", "bf16-mixed"),
        ("16-true", "16-mixed"),
        ("64-true", "32-true"),
        ("transformer-engine", "bf16-mixed"),
        ("transformer-engine-float16", "16-mixed"),
        ("int8", "bf16-mixed"),
    ],
)
@pytest.mark.parametrize("settings", [DeviceSettings, TrainerSettings])
def test_a_precision_that_rounds_weights_is_refused_with_the_one_to_use(settings, given, instead):
    with pytest.raises(UserError, match=f"one of 32-true, bf16-mixed, 16-mixed, .*; got {given}; use {instead}$"):
        settings(precision=given)


@pytest.mark.parametrize("clipped", [None, 0.0, 1.0])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_gradients_are_clipped_at_every_precision(precision, clipped):
    """Lightning refuses a fused optimizer, which there is on a GPU, where autocast is on; it has no other objection."""
    settings = TrainerSettings(precision=precision, gradient_clip_val=clipped, accelerator="cpu")
    plugin = evaluation_trainer(DeviceSettings(accelerator="cpu", precision=precision), callbacks=[]).precision_plugin
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.full((2,), 3.0)
    optimizer = torch.optim.AdamW([weight], fused=settings.takes_fused_optimizer)
    plugin.clip_gradients(optimizer, clipped or 0.0)
    assert weight.grad.norm() < 1.01 if clipped else weight.grad.norm() > 4
    assert settings.takes_fused_optimizer == (precision != "16-mixed" and not (clipped and precision == "bf16-mixed"))


@pytest.mark.parametrize("given", ["16", "16-mixed"])
def test_float16_is_float16_on_a_cpu_too(given):
    plugin = evaluation_trainer(DeviceSettings(accelerator="cpu", precision=given), callbacks=[]).precision_plugin
    assert isinstance(plugin, MixedPrecision)
    with plugin.forward_context():
        assert torch.get_autocast_dtype("cpu") == torch.float16
    assert plugin.scaler is not None


@pytest.mark.parametrize(
    "words",
    [
        "precision=bf16-true",
        "strategy=none_such",
        "devices=0",
        "gradient_clip_val=-1",
        "gradient_clip_val=nan",
        "limit_val_batches=-3",
    ],
)
def test_values_that_cannot_be_are_one_line_before_anything_is_written(words, tmp_path, capsys):
    root, folder = write_small_set(tmp_path / "data"), tmp_path / "run"
    given = [*small_run(root), "callbacks=none", "logger=none", f"trainer.{words}", f"output_dir={folder}"]
    assert run_command(train.main, *given) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: trainer")
    assert "need" in line
    assert not (folder / "config.yaml").exists()
