"""What the index of predictions keeps, leaves out and removes, without a network."""

from __future__ import annotations

import json
import os

import pytest

from afa_wsss.api.prediction_index import PredictionIndex
from afa_wsss.api.prediction_record import FoundClass, PhotoFile, PhotoRecord, overlay_of
from afa_wsss.errors import UserError

MADE_WITH = {"checkpoint": {"path": "/best.ckpt", "sha256": "1"}, "input": "/photos", "max_side": None}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(b"photo " + name.encode())
    return folder


@pytest.fixture
def label(tmp_path, photos):
    """Labels what is to do, as ``predict`` does: gives the names that were, and the index."""

    def run(*, overwrite=False, kill_after=None):
        names = {path.name: f"masks/{path.stem}.png" for path in sorted(photos.iterdir())}
        index = PredictionIndex(tmp_path / "out", MADE_WITH, list(names), overwrite=overwrite)
        index.__enter__()
        done = []
        for name, mask in names.items():
            if index.has(name, mask, photos / name):
                continue
            if len(done) == kill_after:
                index._journal.close()
                return done, index  # without its end
            for place in (mask, overlay_of(mask)):
                (index.folder / place).write_text(name)
            classes = (FoundClass("cat", 0.5, 0.25),)
            index.add(PhotoRecord(name, mask, 4, 2, classes, file=PhotoFile.of(photos / name)))
            done.append(name)
        index.__exit__(None, None, None)
        return done, index

    return run


def content(index):
    return json.loads((index.folder / "predictions.json").read_text("utf-8"))


def pictures(index):
    return sorted(path.name for folder in ("masks", "overlays") for path in (index.folder / folder).iterdir())


def set_time(path, seconds):
    os.utime(path, (seconds, seconds))


def test_a_photo_that_an_older_one_replaced_is_labeled_again(label, photos):
    assert label()[0] == ["a.jpg", "b.jpg", "c.jpg"]
    assert label()[0] == []
    set_time(photos / "a.jpg", 1e9)
    (photos / "b.jpg").write_bytes(b"of another size")
    set_time(photos / "b.jpg", (photos / "c.jpg").stat().st_mtime)
    assert label()[0] == ["a.jpg", "b.jpg"]
    assert label()[0] == []


def test_an_index_without_files_goes_by_the_times_of_masks(label, photos):
    _, index = label()
    stored = content(index)
    del stored["files"]
    (index.folder / "predictions.json").write_text(json.dumps(stored), "utf-8")
    set_time(photos / "b.jpg", (index.folder / "masks" / "b.png").stat().st_mtime + 10)
    assert label()[0] == ["b.jpg"]


def test_photos_that_are_gone_leave_the_index_and_keep_their_masks(label, photos):
    label()
    was = (photos / "b.jpg").read_bytes(), (photos / "b.jpg").stat()
    (photos / "b.jpg").unlink()
    done, index = label()
    assert (done, [record.photo for record in index.gone]) == ([], ["b.jpg"])
    assert [photo["photo"] for photo in content(index)["photos"]] == ["a.jpg", "c.jpg"]
    assert [photo["photo"] for photo in content(index)["gone"]] == ["b.jpg"]
    assert "b.jpg" not in (index.folder / "predictions.csv").read_text("utf-8")
    assert pictures(index) == ["a.jpg", "a.png", "b.jpg", "b.png", "c.jpg", "c.png"]
    (photos / "b.jpg").write_bytes(was[0])
    os.utime(photos / "b.jpg", ns=(was[1].st_atime_ns, was[1].st_mtime_ns))
    done, index = label()
    assert (done, index.gone) == ([], [])
    assert "gone" not in content(index)


def test_a_photo_whose_mask_another_one_took_is_not_done(label, photos):
    label()
    (photos / "b.jpg").rename(photos / "b.tif")
    done, index = label(kill_after=1)
    assert (done, index.gone) == (["b.tif"], [])
    (photos / "b.tif").rename(photos / "b.jpg")
    assert label()[0] == ["b.jpg"]


def test_pictures_under_an_earlier_name_are_removed(label):
    _, index = label()
    with PredictionIndex(index.folder, MADE_WITH, ["a.jpg", "b.jpg", "c.jpg"], overwrite=False) as again:
        (again.folder / "masks" / "a.jpg.png").write_text("a")
        again.add(PhotoRecord("a.jpg", "masks/a.jpg.png", 4, 2, file=PhotoFile(1, 2)))
        again.add(PhotoRecord("b.jpg", "", 0, 0, error="broken", file=PhotoFile(1, 2)))
        again.add(PhotoRecord("c.jpg", "", 0, 0, error="not there"))
    assert pictures(again) == ["a.jpg.png", "c.jpg", "c.png"]


def test_overwriting_removes_what_the_index_names_and_nothing_else(label, photos):
    _, index = label()
    (photos / "b.jpg").unlink()
    label()
    (index.folder / "masks" / "drawn.png").write_text("by hand")
    secret = index.folder.parent / "photos" / "a.jpg"
    stored = content(index)
    stored["photos"].append({**stored["photos"][0], "photo": "x", "mask": "masks/../../photos/a.jpg"})
    (index.folder / "predictions.json").write_text(json.dumps(stored), "utf-8")
    (photos / "c.jpg").unlink()
    done, index = label(overwrite=True)
    assert (done, index.gone) == (["a.jpg"], [])
    assert pictures(index) == ["a.jpg", "a.png", "drawn.png"]
    assert secret.is_file()


def test_what_a_kill_leaves_is_known_as_results_and_gone_on_with(label):
    done, index = label(kill_after=2)
    assert done == ["a.jpg", "b.jpg"]
    assert content(index)["made_with"] == MADE_WITH
    done, index = label(kill_after=0)
    assert (index.folder / "predictions.partial.jsonl").is_file()
    assert label()[0] == ["c.jpg"]
    assert label()[0] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"made_with": {}}', "are of another program"),
        ('{"made_with": 3}', "are of another program"),
        ('{"made_with": {"checkpoint": {"sha256": "1"}, "input": "/photos"}}', "are of another program"),
        ('{"photos": 3}', r"holds predictions\.json"),
        ('{"made_with": ', r"holds predictions\.json"),
    ],
)
def test_an_index_of_another_program_is_refused(label, tmp_path, text, said):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=said) as refused:
        label()
    assert refused.value.arguments == ("output_dir",)
    assert label(overwrite=True)[0] == ["a.jpg", "b.jpg", "c.jpg"]


def test_photos_of_the_right_index_that_cannot_be_read_are_labeled_again(label):
    _, index = label()
    (index.folder / "predictions.json").write_text(json.dumps({"made_with": MADE_WITH, "photos": [{"photo": 1}]}))
    assert label()[0] == ["a.jpg", "b.jpg", "c.jpg"]


def test_the_folder_of_a_job_of_a_sweep_is_empty(label, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "job.json").write_text("{}")
    assert label()[0] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("inner", ["", "masks", "overlays"])
def test_a_file_in_place_of_a_folder_is_named(label, tmp_path, inner):
    place = tmp_path / "out" / inner
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file")
    with pytest.raises(UserError, match=f"need a folder that can be written to, got {place}") as refused:
        label(overwrite=True)
    assert refused.value.arguments == ("output_dir",)
    assert place.read_text() == "a file"
