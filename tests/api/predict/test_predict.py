from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.api.predict.halves import NAMES, PALETTE, Halves, content_of, table_of, with_changes

from afa_wsss.api import predict as predict_file
from afa_wsss.api.predict import list_photos, predict
from afa_wsss.api.segmenter import Segmenter
from afa_wsss.data.files import picture_types
from afa_wsss.data.files.shared_range import SharedRange
from afa_wsss.errors import UserError
from afa_wsss.models import create_model


def test_the_index_names_photos_masks_classes_shares_and_scores(settings, segmenter):
    found = predict(settings)
    rows = [tuple(row.values()) for row in table_of(found.folder)]
    assert rows == [
        ("a.jpg", "masks/a.png", "64", "32", "", "", "", ""),
        ("b.png", "masks/b.png", "64", "32", "Katze", "0.250000", "0.7500", ""),
        ("inner/c.png", "masks/inner/c.png", "64", "32", "Katze", "0.250000", "0.7500", ""),
    ]
    content = content_of(found.folder)
    assert content["photos"][0] == {"photo": "a.jpg", "mask": "masks/a.png", "width": 64, "height": 32, "classes": []}
    assert content["photos"][1]["classes"] == [{"class": "Katze", "share": 0.25, "score": 0.75}]
    assert content["classes"][2] == {"id": 2, "name": "裂纹", "color": [30, 200, 30]}
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "legend.png",
        "masks",
        "overlays",
        "predictions.csv",
        "predictions.json",
    ]


def test_masks_carry_the_names_of_the_classes_and_the_legend_their_colors(settings, segmenter):
    found = predict(settings)
    with Image.open(found.masks / "b.png") as mask:
        assert json.loads(mask.text["classes"]) == {"0": "background", "1": "Katze", "2": "裂纹"}
        assert mask.getpalette()[:9] == PALETTE.ravel().tolist()
    with Image.open(found.legend) as legend:
        colors = {color for _, color in legend.convert("RGB").getcolors(10**6)}
    assert {tuple(color) for color in PALETTE.tolist()} <= colors


def test_a_photo_that_fails_is_named_and_tried_again(settings, segmenter):
    broken = Path(settings.input) / "broken.jpg"
    broken.write_bytes(b"no photo")
    found = predict(settings)
    assert (found.photos, len(found.failed)) == (3, 1)
    row = next(row for row in table_of(found.folder) if row["photo"] == "broken.jpg")
    assert (row["mask"], row["width"], row["class"]) == ("", "", "")
    assert row["error"] == found.failed[0]
    assert "decoded" in row["error"]
    Image.new("RGB", (64, 32)).save(broken)
    again = predict(settings)
    assert (again.photos, again.done_before, again.failed) == (1, 3, [])
    assert not any(row["error"] for row in table_of(found.folder))


def test_mistakes_name_their_setting(settings, segmenter, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("moved")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a file")
    cases = {
        "device": ({"device": "abacus"}, "need a device of auto"),
        "input": ({"input": str(tmp_path / "nope")}, "need a photo or a folder of photos, found none at .*nope$"),
        "input, a link": ({"input": str(tmp_path / "link")}, "found none at .*link, a link to moved"),
        "input, without photos": ({"input": str(tmp_path / "empty")}, "found none at .*empty"),
        "input, without a name": ({"input": ""}, "need a path, got an empty one"),
        "output_dir": ({"output_dir": str(tmp_path / "file")}, r"can be written to, got .*file \(File exists\)"),
        "output_dir, below": ({"output_dir": str(tmp_path / "file" / "a")}, r"got .* \(Not a directory\)"),
        "output_dir, without a name": ({"output_dir": ""}, "need a path, got an empty one"),
    }
    for name, (changes, said) in cases.items():
        with pytest.raises(UserError, match=said) as refused:
            predict(with_changes(settings, **changes))
        assert refused.value.arguments == (name.partition(",")[0],)

    def locked(_):
        raise PermissionError(13, "Permission denied", "photos/private")

    monkeypatch.setattr(predict_file, "read_contents", locked)
    with pytest.raises(UserError, match=r"can be read, got photos/private \(Permission denied\)") as refused:
        predict(settings)
    assert refused.value.arguments == ("input",)


def test_a_name_too_long_for_a_mask_stops_no_other_photo(settings, segmenter):
    long = f"{'b' * 250}.png"
    Image.new("RGB", (64, 32)).save(Path(settings.input) / long)
    found = predict(settings)
    assert (found.photos, len(found.failed)) == (3, 1)
    assert f"{long} (254 letters); rename it" in found.failed[0]


def test_output_inside_the_input_is_not_read_as_photos(settings, segmenter):
    inside = with_changes(settings, output_dir=str(Path(settings.input) / "predicted"))
    assert predict(inside).photos == 3
    assert predict(inside).done_before == 3


def test_a_single_photo_has_an_index_too(settings, segmenter):
    found = predict(with_changes(settings, input=str(Path(settings.input) / "b.png")))
    assert [(row["photo"], row["mask"]) for row in table_of(found.folder)] == [("b.png", "masks/b.png")]


def test_no_two_photos_share_a_mask(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    names = list(list_photos(tmp_path).values())
    assert len(set(names)) == 3


def test_names_that_are_not_utf_8_are_kept(settings, segmenter):
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        Image.new("RGB", (32, 32)).save(Path(settings.input) / name, format="JPEG")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    found = predict(settings)
    assert found.photos == 4
    assert b"caf\xe9.jpg,masks/caf\xe9.png," in (found.folder / "predictions.csv").read_bytes()
    assert predict(settings).done_before == 4


def test_class_scores_are_those_of_the_class_branch():
    segmenter = Segmenter(create_model("mit_nano", num_classes=2, decoder_width=16), NAMES, PALETTE)
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    found = segmenter.predict(photo)
    with torch.inference_mode():
        logits = segmenter.network(predict_input(segmenter, photo)).class_logits
    np.testing.assert_allclose(found.class_scores, logits[0].sigmoid(), rtol=1e-5)


def predict_input(segmenter, photo):
    from afa_wsss.ops.image import normalize

    return normalize(segmenter._tensor(photo))


def test_photos_are_known_by_content_and_what_is_skipped_is_said(segmenter, settings, monkeypatch):
    monkeypatch.setattr(picture_types, "find_spec", lambda name: None)
    picture_types.reads_heic.cache_clear()
    folder = Path(settings.input)
    (folder / "b.png").rename(folder / "IMG 7")
    Image.new("RGB", (64, 32), (255, 128, 128)).save(folder / "inner" / "d.v2", format="GIF")
    for number in range(2):
        (folder / f"phone{number}.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "notes.txt").write_text("words")
    assert {str(name) for name in list_photos(folder).values()} == {"a", "IMG 7", "inner/c", "inner/d.v2"}
    found = predict(settings)
    (line,) = found.skipped
    assert line.startswith(f"2 .heic files of {folder} are skipped, ")
    assert line.endswith('HEIC needs pillow-heif: pip install "afa-wsss[heic]"')
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("phone"):
            path.unlink()
    with pytest.raises(UserError, match=r"need a photo .*, found none at .*; 2 \.heic files .* HEIC needs pillow-heif"):
        predict(settings)
    picture_types.reads_heic.cache_clear()


@pytest.mark.parametrize(("stored", "brightest"), [("auto", 255), ((0.0, 4095.0), 63)])
def test_photos_of_16_bits_share_a_range_that_of_the_checkpoint_first(segmenter, settings, stored, brightest):
    segmenter.range_of = SharedRange(stored, list)
    folder = Path(settings.input)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.unlink()
    for name, top in (("dark", 100), ("light", 1000)):
        values = np.linspace(0, top, 64 * 32).reshape(32, 64)
        Image.fromarray(values.astype(np.uint16)).save(folder / f"{name}.png")
    seen = {}
    segment = Halves.predict

    def remembered(self, photo, **options):
        found = segment(self, photo, **options)
        seen[Path(photo).stem] = int(found.photo.max())
        return found

    segmenter.predict = remembered.__get__(segmenter)
    predict(settings)
    assert seen["light"] in range(brightest - 1, brightest + 1)
    assert seen["dark"] * 9 < seen["light"] < seen["dark"] * 11
