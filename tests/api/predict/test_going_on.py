"""Predictions that go on in a folder where some are done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from tests.api.predict.halves import content_of, table_of, with_changes

from afa_wsss.api.predict import predict
from afa_wsss.errors import UserError


def test_a_run_goes_on_where_it_was_stopped(settings, segmenter):
    def stop_after_two(photos):
        for number, photo in enumerate(photos):
            if number == 2:
                raise KeyboardInterrupt
            yield photo

    stopped = []
    with pytest.raises(KeyboardInterrupt):
        predict(settings, progress=stop_after_two, stopped=stopped.append)
    assert stopped[0].photos == 2
    assert [row["photo"] for row in table_of(Path(settings.output_dir))] == ["a.jpg", "b.png"]
    segmenter.seen.clear()
    found = predict(settings)
    assert segmenter.seen == ["c.png"]
    assert (found.photos, found.done_before) == (1, 2)
    assert [row["photo"] for row in table_of(found.folder)] == ["a.jpg", "b.png", "inner/c.png"]
    assert predict(settings).done_before == 3
    assert [row["photo"] for row in table_of(found.folder)] == ["a.jpg", "b.png", "inner/c.png"]


def test_a_photo_that_has_changed_or_lost_its_mask_is_labeled_again(settings, segmenter):
    found = predict(settings)
    segmenter.seen.clear()
    (found.masks / "a.png").unlink()
    later = (found.masks / "b.png").stat().st_mtime + 10
    os.utime(Path(settings.input) / "b.png", (later, later))
    predict(settings)
    assert segmenter.seen == ["a.jpg", "b.png"]


def test_what_a_kill_leaves_is_gone_on_with(settings, segmenter):
    """The journal ends in half a line, and a mask was being written."""
    folder = Path(settings.output_dir)
    done = predict(settings)
    made_with = content_of(folder)["made_with"]
    photos = content_of(folder)["photos"]
    for name in ("predictions.csv", "predictions.json"):
        (folder / name).unlink()
    lines = [json.dumps({"made_with": made_with}), json.dumps(photos[1]), json.dumps(photos[0])[:30]]
    (folder / "predictions.partial.jsonl").write_text("\n".join(lines), "utf-8")
    (done.masks / "a.png").rename(done.masks / ".a.png.part")
    segmenter.seen.clear()
    found = predict(settings)
    assert (found.done_before, segmenter.seen) == (1, ["a.jpg", "c.png"])
    assert [row["photo"] for row in table_of(folder)] == ["a.jpg", "b.png", "inner/c.png"]
    assert not (folder / "predictions.partial.jsonl").exists()
    assert not list(folder.rglob("*.part"))


def test_other_predictions_are_not_written_over(settings, segmenter, tmp_path):
    predict(settings)
    before = (Path(settings.output_dir) / "predictions.json").read_bytes()
    (tmp_path / "other.ckpt").write_bytes(b"other weights")
    (tmp_path / "others").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "others" / "a.jpg")
    cases = {
        f"of the checkpoint {settings.checkpoint}": with_changes(settings, checkpoint=str(tmp_path / "other.ckpt")),
        f"of the photos in {settings.input}": with_changes(settings, input=str(tmp_path / "others")),
        "made with another inference": with_changes(settings, inference={"refinement": "par"}),
        "made with another max_side": with_changes(settings, data={"max_side": 48}),
    }
    for why, changed in cases.items():
        segmenter.inference, segmenter.max_side = type(segmenter.inference)(), None
        with pytest.raises(UserError, match="need an empty folder, or predictions of the same") as refusal:
            predict(changed)
        assert f"are {why}; choose another output_dir, or add overwrite=true" in str(refusal.value)
        assert refusal.value.arguments == ("output_dir",)
    assert (Path(settings.output_dir) / "predictions.json").read_bytes() == before
    found = predict(with_changes(settings, input=str(tmp_path / "others"), data={"max_side": 64}, overwrite=True))
    assert [row["photo"] for row in table_of(found.folder)] == ["a.jpg"]


def test_a_checkpoint_that_was_moved_is_the_same(settings, segmenter, tmp_path):
    predict(settings)
    (tmp_path / "best.ckpt").rename(tmp_path / "moved.ckpt")
    assert predict(with_changes(settings, checkpoint=str(tmp_path / "moved.ckpt"))).done_before == 3


def test_a_folder_with_other_files_is_not_written_to(settings, segmenter):
    folder = Path(settings.output_dir)
    (folder / "masks").mkdir(parents=True)
    (folder / "masks" / "a.png").write_text("drawn by hand")
    with pytest.raises(UserError, match=r"or one that afa-predict wrote, .* holds masks; choose another output_dir"):
        predict(settings)
    assert (folder / "masks" / "a.png").read_text() == "drawn by hand"
    assert predict(with_changes(settings, overwrite=True)).photos == 3
    assert predict(settings).done_before == 3


def test_overwriting_labels_every_photo_again(settings, segmenter):
    predict(settings)
    found = predict(with_changes(settings, overwrite=True))
    assert (found.photos, found.done_before) == (3, 0)


def test_photos_that_were_replaced_or_are_gone(settings, segmenter):
    """The time of the photo that takes the place of another may be an older one."""
    predict(settings)
    segmenter.seen.clear()
    photos = Path(settings.input)
    Image.new("RGB", (80, 48), (255, 128, 128)).save(photos / "b.png")
    os.utime(photos / "b.png", (1e9, 1e9))
    (photos / "a.jpg").unlink()
    found = predict(settings)
    assert (segmenter.seen, found.photos, found.done_before, found.gone) == (["b.png"], 1, 1, 1)
    with Image.open(found.masks / "b.png") as mask:
        assert mask.size == (80, 48)
    assert [(row["photo"], row["width"]) for row in table_of(found.folder)] == [("b.png", "80"), ("inner/c.png", "64")]
    assert (found.masks / "a.png").is_file()
    (photos / "b.png").unlink()
    assert predict(with_changes(settings, overwrite=True)).gone == 0
    kept = [path.relative_to(found.folder).as_posix() for path in found.folder.rglob("[a-c].*")]
    assert sorted(kept) == ["masks/inner/c.png", "overlays/inner/c.jpg"]
