"""``afa-data`` on small sets of every layout, and training on what it prepared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.commands import run_command
from tests.data.samples import (
    BROKEN,
    ERRORS,
    write_annotation,
    write_broken_folder,
    write_coco,
    write_list,
    write_photo,
    write_voc,
)

import afa_wsss.api.data
from afa_wsss.cli import data, evaluate, pseudo_label, train
from afa_wsss.data.files import label_cache

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def small_training(root: Path, folder: Path) -> list[str]:
    """Words of two steps of class loss on any data."""
    return [
        f"data.root={root}",
        f"output_dir={folder}",
        "model=mit_nano",
        "model.pretrained=null",
        "inference=single_scale",
        "data.crop_size=32",
        "data.batch_size=2",
        "data.num_workers=0",
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "callbacks=none",
        "logger=none",
    ]


def enlarge(root: Path) -> None:
    """Makes photos and masks four times as large, so that the network has a grid of tokens."""
    for path in [*root.rglob("*.jpg"), *root.rglob("*.png")]:
        with Image.open(path) as image:
            image.resize((4 * image.width, 4 * image.height), Image.Resampling.NEAREST).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A user's own folder with 12 photos, two of them with masks."""
    rows = []
    for index in range(12):
        write_photo(tmp_path / "photos" / f"{index}.jpg", 20 * index)
        rows.append(f"{index}.jpg,{'dog;cat' if index % 3 else 'cat'}")
        if index < 2:
            Image.new("L", (12, 8), 1).save(_masks(tmp_path / "photos") / f"{index}.png")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows))
    enlarge(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOC2012")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path)


def _masks(root: Path) -> Path:
    (root / "masks").mkdir(exist_ok=True)
    return root / "masks"


def test_the_command_imports_neither_torch_nor_opencv_before_it_acts(tmp_path: Path) -> None:
    code = (
        "import atexit, sys, afa_wsss.cli.data as data\n"
        f"sys.argv[1:] = ['partshapes', 'size=8', 'root={tmp_path}/new']\n"
        "atexit.register(lambda: print({'torch', 'cv2', 'albumentations', 'lightning'} & set(sys.modules)))\n"
        "data.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "need train and val of at least 0" in done.stderr
    assert done.stdout == "set()\n"


def test_a_folder_is_checked_and_trained_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(data.main, "folder", f"root={photos}", f"output_dir={tmp_path / 'check'}") == 0
    printed = capsys.readouterr().out
    assert re.search(r"photos +10 +2\n", printed)
    assert re.search(r"dog +7 +1\n", printed)
    assert f"train on it: afa-train experiment=photos data.root={photos}" in printed
    assert run_command(train.main, "data=folder", *small_training(photos, tmp_path / "run")) == 0
    assert "val/iou/dog" in json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_a_folder_without_masks_is_trained_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mask in (photos / "masks").iterdir():
        mask.unlink()
    assert run_command(train.main, "data=folder", *small_training(photos, tmp_path / "run")) == 0
    assert "has a mask: pixels are not scored" in capsys.readouterr().out
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "val/class_f1" in scores
    assert "val/miou" not in scores
    checkpoint = f"checkpoint={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    for main, masks in ((evaluate.main, "masks"), (pseudo_label.main, "pseudo_labels")):
        folder, words = tmp_path / masks, ["data.val_split=all", "trainer.accelerator=cpu", "data.num_workers=0"]
        assert run_command(main, checkpoint, f"output_dir={folder}", *words) == 0
        assert "IoU in percent, segm" not in capsys.readouterr().out
        assert len(list((folder / masks).iterdir())) == 12


def test_check_lists_all_problems_and_training_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_broken_folder(tmp_path)
    words = ("data=folder", f"data.root={tmp_path}")
    assert run_command(data.main, "check", *words, "data.val_split=all", f"output_dir={tmp_path / 'out'}") == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"got {len(ERRORS)} errors; fix what the tables list" in printed.err
    found = json.loads((tmp_path / "out" / "problems.json").read_text())
    assert found["errors"] == len(ERRORS)
    assert {problem["kind"] for problem in found["problems"] if problem["level"] == "error"} == ERRORS
    assert set(BROKEN) <= {problem["kind"] for problem in found["problems"]}
    assert run_command(train.main, "data=folder", *small_training(tmp_path, tmp_path / "run")) == 1
    assert re.match(r"error: (data.*: )?need every photo that", capsys.readouterr().err)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_check_of_a_missing_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (f"data.root={tmp_path / 'nowhere'}", f"output_dir={tmp_path / 'out'}")
    assert run_command(data.main, "check", "data=voc12", *words) == 1
    (problem,) = json.loads((tmp_path / "out" / "problems.json").read_text())["problems"]
    assert "which does not exist" in problem["message"]
    assert capsys.readouterr().err.count("\n") == 1


def test_one_of_several_files_of_labels_is_chosen_by_the_word_that_the_message_names(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "tags.csv").write_text((photos / "labels.csv").read_text())
    out = tmp_path / "out"
    for words, word in (
        (["folder", f"root={photos}"], "labels"),
        (["check", "data=folder", f"data.root={photos}"], "data.dataset.labels"),
    ):
        assert run_command(data.main, *words, f"output_dir={out}") == 1
        (problem,) = json.loads((out / "problems.json").read_text())["problems"]
        assert problem["message"].startswith(f"{word}: need one file of labels in {photos}, got labels.csv, tags.csv")
        assert run_command(data.main, *words, f"{word}=labels.csv", f"output_dir={out}") == 0
    assert f"data.root={photos} data.dataset.labels=labels.csv" in capsys.readouterr().out
    assert run_command(train.main, "data=folder", *small_training(photos, tmp_path / "run")) == 1
    assert capsys.readouterr().err.startswith("error: data.dataset.labels: need one file of labels")


def test_voc_is_prepared(voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        write_annotation(voc, name, "aeroplane", "tvmonitor")
    (voc / "SegmentationClass").rename(voc / "SegmentationClassAug")
    write_list(voc, "c", split="val")
    write_list(voc, "a", split="test")
    (voc / "SegmentationClassAug" / "a.png").replace(voc / "SegmentationClassAug" / "b.png")
    write_list(voc, "a", split="train")
    assert run_command(data.main, "voc", f"root={voc.parent}", f"output_dir={tmp_path / 'out'}") == 0
    printed = capsys.readouterr().out
    assert "3 photos labeled by Annotations" in printed
    assert "1 photos in train_aug" in printed
    assert re.search(r"photos +1 +1 +1\n", printed)
    assert f"train on it: afa-train experiment=voc12_mit_b1 data.root={voc}\n" in printed
    found = json.loads((tmp_path / "out" / "problems.json").read_text())
    assert {problem["kind"] for problem in found["problems"]} == {"class without photos"}


def test_coco_is_prepared_and_trained_on(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(data.main, "coco", f"root={coco}") == 0
    assert "val2014: 3 masks drawn, 0 were there" in capsys.readouterr().out
    assert run_command(data.main, "coco", f"root={coco}") == 0
    assert "val2014: 0 masks drawn, 3 were there" in capsys.readouterr().out
    enlarge(coco)
    words = ["data=coco14", "data.train_split=val2014", *small_training(coco, tmp_path / "run")]
    assert run_command(train.main, *words) == 0


def test_coco_without_photos_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(data.main, "coco", f"root={tmp_path}") == 1
    assert capsys.readouterr().err.startswith("error: root: need photos in ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["teach"], "error: need a word of partshapes, voc, coco, folder, check; got 'teach'"),
        (["voc"], "error: need a value for root, got none"),
        (["voc", "root=/nowhere/at/all"], "error: root: need root to be a folder with JPEGImages"),
        (["folder", "root=/nowhere/at/all"], "error: need data without errors to train on, got 1 error"),
        (["check", "data=mnist"], "error: need data to be one of "),
        (["check"], "error: "),
        (
            ["check", "data.root=.", "data.train_split=null", "data.val_split=null"],
            "error: data.train_split, data.val_s",
        ),
        (
            ["partshapes", "classes=letters"],
            "error: classes: need classes to be one of demo, parts, pairs; got letters",
        ),
        (["partshapes", "size=8"], "error: size: need train and val of at least 0 and size of at least 32, got size=8"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(data.main, *words) != 0
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1


def test_partshapes_is_drawn_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["partshapes", f"root={tmp_path / 'drawn'}", "train=2", "val=1", "size=32"]
    assert run_command(data.main, *words) == 0
    assert f"wrote 2 + 1 images to {tmp_path / 'drawn'}\n" in capsys.readouterr().out
    assert run_command(data.main, *words) == 0
    assert f"PartShapes is there already: {tmp_path / 'drawn'} (overwrite=true" in capsys.readouterr().out
    assert run_command(data.main, *words, "overwrite=true") == 0
    assert "wrote 2 + 1 images" in capsys.readouterr().out


def test_drawing_anew_that_was_cut_short_is_not_whole(tmp_path: Path, monkeypatch) -> None:
    """Pictures of one drawing and labels of another would be trained on."""
    words = ["partshapes", f"root={tmp_path / 'drawn'}", "train=2", "val=1", "size=32"]
    assert run_command(data.main, *words) == 0
    with monkeypatch.context() as patch:
        patch.setattr(afa_wsss.api.data, "write_partshapes", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run_command(data.main, *words, "seed=7", "overwrite=true") == 130
    assert not (tmp_path / "drawn" / "classes.json").exists()


def test_ctrl_c_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    def interrupt(*_: object, **arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(afa_wsss.api.data, "write_partshapes", interrupt)
    assert run_command(data.main, "partshapes", f"root={tmp_path / 'drawn'}") == 130
    assert capsys.readouterr().err.strip() == "stopped"


def test_data_that_cannot_be_written_to_is_checked_all_the_same(
    voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in "abc":
        write_annotation(voc, name, "aeroplane")
    monkeypatch.setattr(label_cache, "write_atomically", refuse)
    words = [f"root={voc}", f"output_dir={tmp_path / 'out'}", "difficult=false"]
    assert run_command(data.main, "voc", *words) == 1, "all objects are difficult"
    printed = capsys.readouterr().out
    assert "(Read-only file system): each run collects labels and train_aug, with data.dataset.difficult" in printed
    assert run_command(data.main, "voc", *words[:2]) == 0
    assert not (voc / "image_labels.json").exists()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_documented_data_set_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes the two files that docs/data.md shows, checks and trains."""
    (code,), (config,) = _blocks("python"), _blocks("yaml")
    assert code.count("\n") <= 30
    (tmp_path / "my_data.py").write_text(code)
    (tmp_path / "my_conf" / "data").mkdir(parents=True)
    (tmp_path / "my_conf" / "data" / "named.yaml").write_text(config)
    for split, shade in (("train", 9), ("val", 99)):
        for name, kind in (("cat_1", 1), ("dog_2", 2), ("cat+dog_3", 1)):
            write_photo(tmp_path / "photos" / split / f"{name}.jpg", shade)
            mask = Image.new("L", (12, 8), kind)
            mask.paste(0, (0, 0, 6, 8))
            mask.save(_masks(tmp_path / "photos" / split) / f"{name}.png")
    enlarge(tmp_path / "photos")
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--config-dir", str(tmp_path / "my_conf"), "data=named"]
    out = tmp_path / "out"
    assert run_command(data.main, "check", *words, f"data.root={tmp_path / 'photos'}", f"output_dir={out}") == 0
    assert json.loads((out / "problems.json").read_text())["problems"] == []
    assert run_command(train.main, *words, *small_training(tmp_path / "photos", tmp_path / "run")) == 0
    assert "val/iou/dog" in json.loads((tmp_path / "run" / "metrics.json").read_text())
    sys.modules.pop("my_data")
