"""A user's mistake ends a command with one clear line and an exit code other than 0."""

from __future__ import annotations

import os
import shlex
import shutil
from io import BytesIO, TextIOWrapper

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from tests.commands import run_command, small_run

from afa_wsss import __version__
from afa_wsss.cli import evaluate, messages, predict, shell
from afa_wsss.cli import train as training
from afa_wsss.cli.data import main as data_main
from afa_wsss.cli.output import say
from afa_wsss.cli.words import as_word
from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm


@pytest.fixture
def complaint(capfd, tmp_path):
    """Runs a command that has to fail; the one line that it says."""

    def fail(main, *words):
        assert run_command(main, *words, f"output_dir={tmp_path / 'run'}") == 1
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")

    return fail


MISTAKES = {
    "unknown key": ("trainer.max_step=3", "need a setting that exists, got trainer.max_step; did you mean max_steps?"),
    "added key": ("+model.foo=3", "got model.foo; there are backbone, pretrained"),
    "key of a loss": ("loss.affinity.weigth=1", "got loss.affinity.weigth; did you mean weight?"),
    "own key of a loss": ("loss.regularization.sigma_rbg=1", "regularization.sigma_rbg; did you mean sigma_rgb?"),
    "name of a loss": (
        "loss.affinty.weight=1",
        "need _target_, the class of affinty; did you mean affinity?",
    ),
    "key of a label maker": ("supervision.lwo=0.1", "got supervision.lwo; did you mean low?"),
    "key of a refinement": ("supervision.refinement.stps=3", "got supervision.refinement.stps; did you mean steps?"),
    "key of a data set": ("data.dataset.dificult=1", "got data.dataset.dificult; did you mean difficult?"),
    "wrong type": ("trainer.max_steps=abc", "trainer.max_steps: Value 'abc' of type 'str' could not be converted"),
    "wrong type of a loss": ("loss.regularization.scale=a", "loss.regularization.scale: Value 'a' of type 'str'"),
    "unknown option": ("supervision=nope", "need supervision to be one of afa, afa_coco, afa_demo, "),
    "unknown refinement": ("supervision.refinement=nope", "need supervision/refinement to be one of crf, none, par"),
    "unknown experiment": ("experiment=nope", "need experiment to be one of "),
    "no assignment": (
        "trainer.max_steps",
        "need settings as name=value, without blanks, got trainer.max_steps; --help",
    ),
    "no group": ("loss=null", "need the name of a recipe for a whole group"),
    "no class": ("loss.affinity=3", "loss.affinity: need a class and its settings, got 3; give loss.affinity._target_"),
    "no terms": ("~loss", "loss: need at least one loss term"),
    "unknown class": ("loss.affinity._target_=foo.Bar", "loss.affinity._target_: need a class that can be imported"),
    "class of another kind": ("supervision._target_=afa_wsss.models.AFA", "supervision"),
    "thresholds": ("supervision.low=0.7", "supervision.low, supervision.high: need 0 <= low < high <= 1, got low=0.7"),
    "weight": ("loss.affinity.weight=-1", "loss.affinity.weight: need weight of at least 0, got -1"),
    "backbone": ("model.backbone=mit_b9", "model.backbone: need a backbone of mit_nano, mit_b0"),
    "weights": ("model.pretrained=/nope.pth", "model.pretrained: need a file of weights, found none at /nope.pth"),
    "root": ("data.root=/nope", "got /nope, which does not exist"),
    "split": ("data.train_split=nope", "lists there: train, val"),
    "steps": ("trainer.max_steps=0", "trainer.max_steps: need at least 1, got max_steps=0"),
    "devices": ("trainer.devices=abc", "trainer: need values that lightning.Trainer takes"),
    "accelerator": ("trainer.accelerator=tpu", "trainer: need values that lightning.Trainer takes"),
    "held-out batches": ("trainer.limit_val_batches=0.01", "takes, got: You requested to check 0.01 of the"),
    "precision": (
        "trainer.precision=17",
        "trainer.precision: need precision to be one of 32-true, bf16-mixed, 16-mixed",
    ),
    "seed": ("seed=-1", "seed: need a seed of at least 0"),
    "betas": ("optimizer.betas=[0.9]", "optimizer.betas: need two betas"),
    "target of a loss": (
        "loss.affinity._target_=tests.cli.test_shell.NeedsMore",
        "loss.affinity: need a label maker that makes depth for the loss 'affinity', AFALabels makes pseudo_label, ",
    ),
}


class NeedsMore(LossTerm):
    """A loss that no label maker of the package serves."""

    needs = ("depth",)

    def forward(self, output, targets):
        raise AssertionError("training must not start")


@pytest.mark.parametrize(("word", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_one_clear_line(complaint, root, word, message):
    assert message in complaint(training.main, *small_run(root), "callbacks=quiet", word)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_where_one_is_asked_for(complaint, root):
    assert "use accelerator=cpu" in complaint(training.main, *small_run(root), "trainer.accelerator=gpu")


def test_no_folder_to_write_to(capfd, root):
    assert run_command(training.main, *small_run(root), "output_dir=/proc/nope") == 1
    assert "/proc/nope" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("output_dir=file",), "output_dir: need a folder that can be written to, got file (File exists)"),
        (("output_dir=file/a",), "output_dir: need a folder that can be written to, got file/a (Not a directory)"),
        (("hydra.sweep.dir=file",), "hydra.sweep.dir: need a folder that can be written to, got file (File exists)"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_by_its_setting(tmp_path, monkeypatch, capfd, words, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    sweep = ("-m",) if words[0].startswith("hydra") else ()
    assert run_command(predict.main, *sweep, "checkpoint=a.ckpt", "input=photos", *words) == 1
    assert named in capfd.readouterr().err


def test_names_that_are_not_utf_8_are_printed_with_escapes(capfd):
    """Python's stdout refuses them, in place of the line that holds them."""
    predict.COMMAND._prepare()
    say(os.fsdecode(b"caf\xe9.jpg"))
    assert capfd.readouterr().out == "caf\\udce9.jpg\n"


def spoil_list(copy):
    (copy / "ImageSets" / "Segmentation" / "train.txt").write_text("nowhere\n")
    return "nowhere"


def spoil_photo(copy):
    path = next((copy / "JPEGImages").glob("train_*"))
    path.write_bytes(path.read_bytes()[:200])
    return path.stem


@pytest.mark.parametrize("spoil", [spoil_list, spoil_photo])
def test_spoilt_data_is_named(complaint, root, tmp_path, spoil):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    named = spoil(copy)
    assert named in complaint(training.main, *small_run(copy), "callbacks=quiet")


@pytest.mark.parametrize("word", ["inference=paper", "experiment=demo", "data=voc12"])
def test_commands_without_recipes_say_so(complaint, word):
    name = word.partition("=")[0]
    assert f"need a setting that exists, got {name}; this command takes single settings" in complaint(
        evaluate.main, "checkpoint=a.ckpt", word
    )


@pytest.mark.parametrize("main", [evaluate.main, predict.main])
def test_a_checkpoint_has_to_be_given_and_there(complaint, main):
    words = () if main is evaluate.main else ("input=photos",)
    assert "need a value for checkpoint" in complaint(main, *words)
    assert "found none at nope.ckpt" in complaint(main, *words, "checkpoint=nope.ckpt")


def test_a_checkpoint_has_to_be_ours(complaint, tmp_path):
    text, other = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    text.write_text("no checkpoint")
    torch.save({"state_dict": {}}, other)
    assert "cannot be read" in complaint(evaluate.main, f"checkpoint={text}")
    assert "holds no configuration" in complaint(evaluate.main, f"checkpoint={other}")


@pytest.mark.parametrize(("words", "code"), [((), 2), (("--help",), 0), (("nope",), 2)])
def test_afa_data_lists_its_data_sets(capsys, words, code):
    assert run_command(data_main, *words) == code
    said = capsys.readouterr()
    assert "partshapes" in said.out + said.err


def test_help_names_groups_and_settings(capsys):
    assert run_command(training.main, "--help") == 0
    said = capsys.readouterr().out
    for word in ("afa-train experiment=demo", "experiment: ", "voc12_mit_b1", "walk_first_step", "output_dir=PATH"):
        assert word in said


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        shell.fail(ZeroDivisionError("ours"))


def test_the_traceback_is_shown_on_demand(monkeypatch):
    monkeypatch.setenv(messages.DEBUG_VARIABLE, "1")
    with pytest.raises(UserError):
        shell.fail(UserError("theirs"))


def test_a_mistake_is_found_below_what_it_led_to():
    error = RuntimeError("worker died")
    error.__cause__ = UserError("need this,\n got that")
    assert messages.user_message(error) == "need this, got that"


def test_names_that_are_not_utf8_can_be_printed(monkeypatch):
    with TextIOWrapper(BytesIO(), encoding="utf-8") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        shell.print_any_name()
        say("need a photo, got M\udcfcller.jpg")
        stdout.flush()
        assert stdout.buffer.getvalue() == b"need a photo, got M\\udcfcller.jpg\n"


def test_a_lost_process_is_reported_without_its_traceback():
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")
    assert messages.user_message(full).startswith(
        "need less memory than the GPU has, got: CUDA out of memory; lower data.batch_size (with data.total_batch"
    )
    message = messages.user_message(RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1"))
    assert message is not None
    assert "another process of this run has stopped" in message


@pytest.mark.parametrize("text", ["ünï", "o'brien", "photos (1)", "a,b", "k=v", "my photos", "$HOME", "plain/photos_1"])
def test_a_setting_as_it_is_typed_says_the_text(text):
    (word,) = shlex.split(as_word("root", text))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == text


def test_text_that_needs_quotes_is_shown_with_them(complaint):
    message = "need a value that can be parsed, got data.root=my ünï; put text in quotes: \"data.root='my ünï'\""
    assert complaint(training.main, "data.root=my ünï") == message
    message = "need one value, got data.root=a,b; put text in quotes: \"data.root='a,b'\", or sweep with --multirun"
    assert complaint(training.main, "data.root=a,b") == message


def test_processes_of_torchrun_need_one_folder(monkeypatch, tmp_path, capfd):
    """Each would name it by its own clock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_command(training.main, "experiment=demo", "trainer.devices=2") == 1
    assert "error: output_dir: need a folder for the 2 processes that torchrun started" in capfd.readouterr().err
    assert run_command(predict.main, "checkpoint=a", "input=b", "output_dir=c") == 1
    assert "error: need one process for this command, torchrun started 2" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_training_needs_a_split_to_train_on(complaint):
    words = ["data.train_split=null", "data.root=/nowhere"]
    assert complaint(training.main, *words).startswith("data.train_split: need a split to train on, got none")


def test_a_sweep_cannot_be_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run_command(training.main, "--cfg", "job", "-m") == 1
    assert "error: need one of --multirun, --cfg and --info" in capfd.readouterr().err


@pytest.mark.parametrize("main", [training.main, data_main])
def test_the_version_is_that_of_the_package(main, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["afa", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"afa-wsss {__version__}\n")
