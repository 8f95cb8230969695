"""Folds: every held-out photo once, the same each time, and read by ``data=folder``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.real.__main__ import main
from benchmarks.real.folds import deal, write_folds
from tests.benchmarks.real.folders import write_photos

from afa_wsss.data import FolderDataset
from afa_wsss.errors import UserError


@pytest.fixture
def root(tmp_path):
    return write_photos(tmp_path / "photos", val=11)


def test_over_the_folds_each_photo_is_held_out_once(root, tmp_path):
    whole = FolderDataset(root, "val", with_masks=True)
    held_out = []
    for folder, train_count, val_count in write_folds(root, tmp_path / "out", folds=3):
        train, val = (FolderDataset(folder, split, with_masks=True) for split in ("train", "val"))
        assert (len(train), len(val)) == (train_count, val_count)
        assert not set(train.names) & set(val.names)
        assert set(train.names) | set(val.names) == set(whole.names)
        assert train.class_names == whole.class_names
        for part in (train, val):
            part.check_files()
            assert part.count_masks() == len(part)
            assert not part.warnings
            for index, name in enumerate(part.names):
                mine, theirs = part.sample(index), whole.sample(whole.names.index(name))
                np.testing.assert_array_equal(mine.image, theirs.image)
                np.testing.assert_array_equal(mine.mask, theirs.mask)
                np.testing.assert_array_equal(mine.image_labels, theirs.image_labels)
        held_out += val.names
    assert sorted(held_out) == sorted(whole.names)


def test_classes_are_spread_evenly_and_equally_each_time():
    labels = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(np.uint8)
    fold_of = deal(labels, 4)
    np.testing.assert_array_equal(fold_of, deal(labels, 4))
    counts = np.stack([labels[fold_of == fold].sum(axis=0) for fold in range(4)])
    assert np.ptp(counts, axis=0).max() <= 8  # one for each combination of classes
    assert np.ptp(np.bincount(fold_of)) <= 1


def test_folds_that_are_there_stay_and_other_ones_are_written_anew(root, tmp_path):
    out = tmp_path / "out"
    write_folds(root, out, folds=2)
    note = out / "fold0" / "note.txt"
    note.touch()
    write_folds(root, out, folds=2)
    assert note.exists()
    write_folds(root, out, folds=3)
    assert not note.exists()


def test_folds_of_data_that_has_changed_are_written_anew(root, tmp_path):
    for changed in ("labels.csv", "mask"):
        write_folds(root, tmp_path / "out", folds=2)
        note = tmp_path / "out" / "fold0" / "note.txt"
        note.touch()
        if changed == "mask":
            photos = FolderDataset(root, "val", with_masks=True)
            Path(photos.mask_path(len(photos) // 2)).unlink()
        else:
            rows = (root / changed).read_text(encoding="utf-8")
            (root / changed).write_text("dog".join(rows.rsplit("cat", 1)), encoding="utf-8")
        write_folds(root, tmp_path / "out", folds=2)
        assert not note.exists(), changed


def test_a_folder_with_anything_else_is_not_touched(root, tmp_path):
    kept = tmp_path / "out" / "fold1" / "mine.txt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with pytest.raises(UserError, match=r"fold1 has something else in it; give another --out"):
        write_folds(root, tmp_path / "out", folds=2)
    assert kept.exists()


@pytest.mark.parametrize("folds", [1, 12])
def test_too_few_and_too_many_folds_are_refused(root, tmp_path, folds):
    with pytest.raises(UserError, match=f"one for each of the 11 photos with a mask, got {folds}"):
        write_folds(root, tmp_path / "out", folds=folds)


def test_the_command_says_how_large_they_are(root, tmp_path, capsys):
    main(["folds", "--root", str(root), "--out", str(tmp_path / "out"), "--folds", "3"])
    lines = [line.rpartition("/")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "fold0: 7 photos to train on, 4 to validate with"
    assert len(lines) == 3
