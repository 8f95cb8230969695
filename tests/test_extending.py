"""docs/extending.md, followed word by word: its files are written, its commands run."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.commands import run_command, small_run

import afa_wsss
from afa_wsss.cli import evaluate, predict, pseudo_label
from afa_wsss.cli import train as training

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(section.split("\n", 1) for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
SMALL = [
    *(word for word in small_run(Path("unused")) if word.split("=")[0] not in ("experiment", "data.root")),
    "callbacks.progress=null",
]
"""A run of four steps; the page's commands say the rest."""

AFA_ALONE = ("supervision.first_step=", "supervision.walk_first_step=", "supervision.refinement.steps=")
"""Words of that run that are settings of AFA's label maker."""


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture
def page(tmp_path, monkeypatch, root):
    """Writes the files of a section below the current folder; the words of its command, with a short run's."""

    def follow(title: str, *, more: tuple[str, ...] = ()) -> list[str]:
        section = SECTIONS[title]
        files = [*blocks(section, "python"), *blocks(section, "yaml")]
        assert len(files) == 2
        for text in files:
            name = re.match(r"# (\S+)\n", text)[1]
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        (command,) = blocks(section, "bash")
        surroundings, name, *words = shlex.split(command)
        assert (surroundings, name) == ("PYTHONPATH=.", "afa-train")
        data = [] if any(word.startswith("data.root=") for word in words) else [f"data.root={root}"]
        dropped = {word.split("=")[0] for word in more if word.endswith("=")}
        small = [word for word in SMALL if word.split("=")[0] not in dropped]
        given = [word for word in more if not word.endswith("=")]
        return [*words, *data, *small, *given, f"output_dir={tmp_path / 'run'}"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield follow
    for name in ("confidence", "tiny", "two_thresholds", "sharper", "mean_filter", "pairs"):
        sys.modules.pop(name, None)


def last(folder: Path) -> Path:
    return folder / "run" / "checkpoints" / "last.ckpt"


def config(folder: Path) -> dict:
    return yaml.safe_load((folder / "run" / "config.yaml").read_text())


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_the_page_has_six_sections_each_under_a_page():
    titles = ["A loss", "A backbone", "A label maker", "A label maker like AFA's", "A refinement", "A data set"]
    assert list(SECTIONS) == titles
    assert all(len(text.splitlines()) < 60 for text in SECTIONS.values())


def test_a_loss_trains_is_saved_and_resumed(page, tmp_path):
    words = page("A loss")
    assert run_command(training.main, *words) == 0
    assert config(tmp_path)["loss"]["confidence"] == {
        "_target_": "confidence.ConfidenceLoss",
        "weight": 0.1,
        "first_step": "${supervision.first_step}",
        "temperature": 4.0,
    }
    state = torch.load(last(tmp_path), weights_only=True)
    learned = float(state["state_dict"]["losses.confidence.sharpness"])
    assert learned != 1
    assert "train/confidence_loss" in metrics(tmp_path / "run")
    assert "confidence" in (tmp_path / "run" / "report.html").read_text()
    again = [word for word in words if not word.startswith(("output_dir=", "trainer.max_steps="))]
    again += [f"resume={last(tmp_path)}", "trainer.max_steps=5", f"output_dir={tmp_path / 'on'}"]
    assert run_command(training.main, *again) == 0
    resumed = torch.load(tmp_path / "on" / "checkpoints" / "last.ckpt", weights_only=True)
    moments = resumed["optimizer_states"][0]
    assert float(resumed["state_dict"]["losses.confidence.sharpness"]) != learned
    index = moments["param_groups"][-1]["params"]
    assert moments["param_groups"][-1]["name"] == "losses"
    assert int(moments["state"][index[0]]["step"]) == 5
    # A checkpoint is used without the class of a loss.
    sys.modules.pop("confidence")
    (tmp_path / "confidence.py").unlink()
    assert run_command(evaluate.main, f"checkpoint={last(tmp_path)}", f"output_dir={tmp_path / 'scored'}") == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("loss.confidence.temprature=4", "got loss.confidence.temprature; did you mean temperature?"),
        ("loss.confidence.temperature=hot", "loss.confidence.temperature: Value 'hot' of type 'str'"),
        ("loss.confidence.weight=-1", "loss.confidence.weight: need weight of at least 0, got -1"),
    ],
)
def test_settings_of_a_loss_of_ones_own_are_checked(page, capfd, word, message):
    assert run_command(training.main, *page("A loss", more=(word,))) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


def test_a_backbone_trains_evaluates_and_predicts(page, tmp_path, root):
    assert run_command(training.main, *page("A backbone", more=("model.pretrained=",))) == 0
    assert config(tmp_path)["model"]["backbone"] == {"_target_": "tiny.TinyEncoder", "width": 48, "heads": 2}
    scored = [f"checkpoint={last(tmp_path)}", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *scored) == 0
    found = metrics(tmp_path / "scored")
    assert found["val/miou"] == pytest.approx(metrics(tmp_path / "run")["val/miou"], abs=1e-4)
    photo = next((root / "JPEGImages").glob("val_*"))
    words = [f"checkpoint={last(tmp_path)}", f"input={photo}", f"output_dir={tmp_path / 'out'}", "device=cpu"]
    assert run_command(predict.main, *words) == 0
    assert type(afa_wsss.load(last(tmp_path), device="cpu").network.encoder).__name__ == "TinyEncoder"


def test_a_label_maker_trains_evaluates_and_reports(page, tmp_path):
    words = page(
        "A label maker",
        more=("supervision.first_step=", "supervision.walk_first_step=", "supervision.refinement.steps="),
    )
    assert run_command(training.main, *words) == 0
    assert config(tmp_path)["supervision"] == {"_target_": "two_thresholds.TwoThresholds", "low": 0.05, "high": 0.2}
    found = metrics(tmp_path / "run")
    assert {"val/cam_miou", "val/cam_best_miou", "val/miou", "train/segmentation_loss"} <= set(found)
    assert not {"val/walk_miou", "val/pseudo_label_miou"} & set(found)
    report = (tmp_path / "run" / "report.html").read_text()
    assert "CAM" in report
    assert "walk" not in re.sub(r"<(style|pre).*?</\1>", "", report, flags=re.DOTALL)
    checkpoint = f"checkpoint={last(tmp_path)}"
    assert run_command(pseudo_label.main, checkpoint, "score=true", f"output_dir={tmp_path / 'labels'}") == 0
    assert metrics(tmp_path / "labels")["val/cam_miou"] == pytest.approx(found["val/cam_miou"], abs=1e-4)
    assert len(list((tmp_path / "labels" / "pseudo_labels").iterdir())) == 5


def test_a_label_maker_without_affinity_labels_refuses_the_affinity_loss(page, capfd):
    words = page(
        "A label maker",
        more=("supervision.first_step=", "supervision.walk_first_step=", "supervision.refinement.steps="),
    )
    assert run_command(training.main, *(word for word in words if word != "loss.affinity.weight=0")) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "loss.affinity: need a label maker that makes affinity_label" in line


def test_a_label_maker_like_afas_has_afas_settings_and_its_own(page, tmp_path):
    words = page("A label maker like AFA's")
    assert run_command(training.main, *words) == 0
    stored = config(tmp_path)["supervision"]
    assert (stored["_target_"], stored["power"], stored["alpha"]) == ("sharper.SharperLabels", 4, 8.0)
    assert stored["refinement"]["steps"] == 2  # the command's
    assert {"val/cam_par_miou", "val/walk_miou"} <= set(metrics(tmp_path / "run"))
    assert run_command(evaluate.main, f"checkpoint={last(tmp_path)}", f"output_dir={tmp_path / 'scored'}") == 0


@pytest.mark.parametrize("dropped", ["supervision.refinement.steps=", "unused="])
def test_without_defaults_a_label_maker_has_those_of_its_class(page, tmp_path, dropped):
    words = page("A label maker like AFA's", more=(dropped,))
    (tmp_path / "my_conf" / "supervision" / "sharper.yaml").write_text("_target_: sharper.SharperLabels\n")
    assert run_command(training.main, *words) == 0
    stored = config(tmp_path)["supervision"]
    assert (stored["alpha"], stored["refinement"]["_target_"]) == (2.0, "afa_wsss.supervision.PAR")
    assert stored["refinement"]["steps"] == (10 if dropped != "unused=" else 2)
    assert "val/cam_par_miou" in metrics(tmp_path / "run")
    assert run_command(evaluate.main, f"checkpoint={last(tmp_path)}", f"output_dir={tmp_path / 'scored'}") == 0


@pytest.mark.parametrize(
    ("more", "word", "message"),
    [
        ("refinement: null", "seed=0", "supervision.refinement: need a class, got null; leave refinement out"),
        ("powr: 3", "seed=0", "need a setting that exists, got supervision.powr; did you mean power?"),
        ("", "supervision.refinement.stps=3", "got supervision.refinement.stps; did you mean steps?"),
    ],
)
def test_settings_of_a_label_maker_of_ones_own_are_checked(page, tmp_path, capfd, more, word, message):
    words = page("A label maker like AFA's", more=("supervision.refinement.steps=", word))
    file = tmp_path / "my_conf" / "supervision" / "sharper.yaml"
    file.write_text(f"{file.read_text()}{more}\n")
    assert run_command(training.main, *words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


def test_a_refinement_trains_evaluates_and_reports(page, tmp_path):
    assert run_command(training.main, *page("A refinement", more=("supervision.refinement.steps=",))) == 0
    assert config(tmp_path)["supervision"]["refinement"] == {"_target_": "mean_filter.MeanFilter", "width": 7}
    found = metrics(tmp_path / "run")
    assert {"val/cam_miou", "val/cam_mean_miou", "val/walk_miou", "val/pseudo_label_miou"} <= set(found)
    assert "CAM + mean" in (tmp_path / "run" / "report.html").read_text()
    assert run_command(evaluate.main, f"checkpoint={last(tmp_path)}", f"output_dir={tmp_path / 'scored'}") == 0
    assert metrics(tmp_path / "scored")["val/cam_mean_miou"] == pytest.approx(found["val/cam_mean_miou"], abs=1e-4)


def test_a_data_set_trains_and_is_scored(page, tmp_path, root):
    words = page("A data set", more=("data.crop_size=",))
    for split, photos in (("train", 6), ("val", 3)):
        (tmp_path / "pairs" / split).mkdir(parents=True)
        for number in range(photos):
            for name, color in (("cat", (200, 40, 40)), ("dog", (40, 40, 200))):
                place = tmp_path / "pairs" / split / f"{name}_{number}"
                Image.fromarray(np.full((64, 64, 3), color, np.uint8)).save(f"{place}.jpg")
                if split == "val":
                    Image.fromarray(np.full((64, 64), 1 + (name == "dog"), np.uint8)).save(f"{place}.png")
    assert run_command(training.main, *words) == 0
    assert {"val/iou/cat", "val/iou/dog"} <= set(metrics(tmp_path / "run"))
    assert run_command(evaluate.main, f"checkpoint={last(tmp_path)}", f"output_dir={tmp_path / 'scored'}") == 0
