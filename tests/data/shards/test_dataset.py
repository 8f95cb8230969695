"""A data set of shards: where they are, how many photos, which classes, and what it leaves out aloud."""

from __future__ import annotations

import json
import logging
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.data.samples import png_chunk
from tests.data.shards.shards import PHOTO, write_shard, write_shards

from afa_wsss.data import FolderDataset, SegmentationDataset, ShardedDataset
from afa_wsss.data.base import Streamed
from afa_wsss.data.fingerprint import fingerprint
from afa_wsss.data.shards.files import find_shards, write_sizes
from afa_wsss.errors import UserError


def test_photos_and_labels_are_read_from_all_shards(tmp_path):
    write_shards(tmp_path, [2, 0, 3])
    photos = ShardedDataset(str(tmp_path), "train")
    assert isinstance(photos, SegmentationDataset)
    assert isinstance(photos, Streamed)
    assert (len(photos), photos.class_names, photos.palette.shape) == (5, ("cat", "dog"), (3, 3))
    found = [photos.sample(index) for index in range(5)]
    names = ["train-000000/000", "train-000000/001", "train-000002/000", "train-000002/001", "train-000002/002"]
    assert [sample.name for sample in found] == names
    assert all(sample.mask is None and sample.image_labels.tolist() == [1, 1] for sample in found)
    assert all((sample.image == (9, 0, 0)).all() and sample.image.shape == (8, 8, 3) for sample in found)


def test_a_loader_worker_gets_a_copy(tmp_path):
    photos = ShardedDataset(str(write_shards(tmp_path, [2])), "train")
    photos.check_files()
    assert pickle.loads(pickle.dumps(photos)).sample(1).name == "train-000000/001"  # noqa: S301


@pytest.mark.parametrize(
    ("files", "root", "shards"),
    [
        (["train-0.tar", "val-0.tar", "b.tar"], "", ["train-0.tar"]),
        (["train/0.tar", "train/1.tar", "b.tar"], "", ["train/0.tar", "train/1.tar"]),
        (["b.tar", "a.tar", "a.txt"], "", ["a.tar", "b.tar"]),
        (["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"], "s-{08..10}.tar", ["s-08.tar", "s-09.tar", "s-10.tar"]),
        (["s-1.tar", "t-1.tar"], "s-*.tar", ["s-1.tar"]),
        (["s-1.tar", "t-1.tar"], "t-1.tar", ["t-1.tar"]),
    ],
)
def test_shards_are_found(tmp_path, files, root, shards):
    for name in files:
        write_shard(tmp_path / name, [])
    assert find_shards(f"{tmp_path}/{root}" if root else str(tmp_path), "train") == [f"{tmp_path}/{s}" for s in shards]


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("none", "need tar files in .*none, found none"),
        ("none-*.tar", "need tar files .*none-.*, found none"),
        ("train-{000000..000002}.tar", "need all 3 shards of the pattern, 1 are missing, the first is .*000002.tar"),
        ("https://example.org/{0..1}.tar", "need shards on a disk"),
        ("pipe:cat a.tar", "need shards on a disk"),
    ],
)
def test_shards_that_are_not_there_are_an_error(tmp_path, root, message):
    write_shards(tmp_path, [1, 1])
    with pytest.raises(UserError, match=message):
        find_shards(root if ":" in root else f"{tmp_path}/{root}", "train")


@pytest.mark.parametrize("other", ["photos-val-0.tar", "photos_test.tar", "validation-0.tar"])
def test_shards_that_another_split_gives_its_name_are_not_trained_on(tmp_path, other):
    for name in ("photos-train-0.tar", other):
        write_shard(tmp_path / name, [])
    with pytest.raises(UserError, match=f"need shards of train alone, .* holds {other} too; .* pattern, such as"):
        find_shards(str(tmp_path), "train")
    assert find_shards(f"{tmp_path}/photos-train-*.tar", "train") == [f"{tmp_path}/photos-train-0.tar"]
    assert len(find_shards(str(tmp_path), "all")) == 2


def test_sizes_of_a_file_are_believed_and_checked_on_reading(tmp_path):
    write_shards(tmp_path, [2, 3])
    path = write_sizes(str(tmp_path))
    assert json.loads(path.read_text()) == {"train-000000.tar": 2, "train-000001.tar": 3}
    path.write_text('{"train-000000.tar": 7}')
    (tmp_path / "classes.txt").write_text("cat\ndog")
    photos = ShardedDataset(str(tmp_path), "train")
    assert len(photos) == 10, "the other shard is counted"
    for read in (photos.sample, photos.usable):
        with pytest.raises(UserError, match=r"need 7 samples in .*train-000000\.tar, as sizes\.json says, got 2"):
            read(0)
    path.write_text('{"train-000000.tar": "two"}')
    with pytest.raises(UserError, match="need the samples of each shard"):
        ShardedDataset(str(tmp_path), "train")


def test_samples_that_cannot_be_used_are_replaced_and_counted(tmp_path, caplog):
    samples = [{"png": PHOTO, "txt": b"cat"}] * 20
    broken = [{"txt": b"cat"}, {"png": PHOTO}, {"png": PHOTO[:40], "txt": b"cat"}, {"png": PHOTO, "json": b"{"}]
    for place, entries in enumerate(broken):
        samples[3 + place] = entries
    write_shard(tmp_path / "train-0.tar", samples)
    photos = ShardedDataset(str(tmp_path), "train")
    for index in range(3, 7):
        with pytest.raises(UserError):
            photos.sample(index)
    with caplog.at_level(logging.WARNING, "afa_wsss"):
        found = [photos.usable(index).name for index in range(20)]
    assert found == [f"train-0/{7 if 3 <= index < 7 else index:03}" for index in range(20)]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, "the first and the tenth"
    assert "003 in" in told[0]
    assert "(10 of this kind in this loader process so far)" in told[1]


def test_a_shard_without_anything_usable_ends_the_run(tmp_path):
    write_shard(tmp_path / "train-0.tar", [{"png": PHOTO, "txt": b"cat"}])
    write_shard(tmp_path / "train-1.tar", [{"txt": b"cat"}] * 150)
    photos = ShardedDataset(str(tmp_path), "train")
    with pytest.raises(UserError, match="need samples that can be read, 100 in a row cannot; the last: need a photo"):
        photos.usable(9)


def test_warnings_say_what_the_labels_are(tmp_path, caplog):
    texts = ["cat"] * 5 + [""] * 3 + ["cat;tree"] * 2 + ["tree"]
    samples = [{"png": PHOTO, "txt": text.encode()} for text in texts] + [{"png": PHOTO}, {"txt": b"cat"}]
    write_shard(tmp_path / "train-0.tar", samples)
    (tmp_path / "classes.txt").write_text("cat\ndog")
    photos = ShardedDataset(str(tmp_path), "train")
    photos.check_files()
    told = {problem.kind: problem.message.partition(" samples")[0] for problem in photos.warnings}
    tags = "tags that classes.txt lacks"
    assert told == {"no class": "4 of 13", tags: "3 of 13", "no labels": "1 of 13", "no photo": "1 of 13"}
    with caplog.at_level(logging.WARNING, "afa_wsss"):
        assert photos.usable(9).image_labels.tolist() == [1, 0]
    assert "tag 'tree' of 009" in caplog.text


@pytest.mark.parametrize(
    ("entries", "classes", "message"),
    [
        ({"txt": b"a dog on grass"}, "cat\ndog", "need labels that name classes such as 'cat'"),
        ({"json": b'{"caption": "a"}'}, "cat", "none of 3 does, 3 have no labels"),
        ({"cls": b"1"}, "", "found none"),
        ({"cls": b"5"}, "cat", "3 have labels that cannot be read"),
    ],
)
def test_labels_without_a_class_are_an_error(tmp_path, entries, classes, message):
    write_shard(tmp_path / "train-0.tar", [{"png": PHOTO, **entries}] * 3)
    if classes:
        (tmp_path / "classes.txt").write_text(classes)
    with pytest.raises(UserError, match=message):
        ShardedDataset(str(tmp_path), "train").check_files()


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ("background\ncat\ndog\n", {b"0": [0, 0], b"1": [1, 0], b"2": [0, 1], b"3": "classes.txt has 3"}),
        ("cat\n__ignore__\ndog\n", {b"0": [1, 0], b"2": [0, 1], b"1": "names no class", b"dog": [0, 1]}),
        ("1 cat\n2 dog\n", {b"1": [1, 0], b"2": [0, 1], b"0": "names no class"}),
    ],
)
def test_numbers_are_those_of_the_lines_of_classes_txt(tmp_path, classes, labels):
    write_shard(tmp_path / "train-0.tar", [{"png": PHOTO, "cls": number} for number in labels])
    (tmp_path / "classes.txt").write_text(classes)
    photos = ShardedDataset(str(tmp_path), "train")
    assert photos.class_names == ("cat", "dog")
    for index, meaning in enumerate(labels.values()):
        if isinstance(meaning, str):
            with pytest.raises(UserError, match=meaning):
                photos.sample(index)
        else:
            assert photos.sample(index).image_labels.tolist() == meaning


def test_numbers_without_classes_txt_are_not_guessed(tmp_path):
    write_shard(tmp_path / "train-0.tar", [{"png": PHOTO, "cls": b"dog"}, {"png": PHOTO, "cls": b"0"}])
    photos = ShardedDataset(str(tmp_path), "train")
    with pytest.raises(UserError, match=r"class number 0, which needs a classes\.txt"):
        photos.sample(1)


def deep_png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values.astype(np.uint16))[1].tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_photos_of_16_bits_have_the_range_that_is_set_and_never_one_of_their_own(tmp_path, channels):
    bright = np.linspace(0, 4095, 64).reshape(8, 8, 1).repeat(channels, axis=-1)
    samples = [{"png": deep_png(bright), "txt": b"cat"}, {"png": deep_png(bright / 10), "txt": b"cat"}]
    write_shard(tmp_path / "train-0.tar", samples)
    photos = ShardedDataset(str(tmp_path), "train")
    message = r"000 in .*train-0\.tar has 16 bits \(0 to 4095\) and declares none; set data\.value_range=\[low,high\]"
    for read in (photos.check_files, lambda: photos.sample(0)):
        with pytest.raises(UserError, match=message):
            read()
    photos = ShardedDataset(str(tmp_path), "train")
    photos.value_range = (0.0, 4095.0)
    photos.check_files()
    for index, values in enumerate((bright, bright / 10)):
        expected = np.broadcast_to(values.astype(np.uint16) / 4095 * 255, (8, 8, 3))
        np.testing.assert_allclose(photos.sample(index).image, expected, atol=0.51)


def test_photos_of_16_bits_that_declare_their_bits_need_no_setting(tmp_path):
    content = deep_png(np.linspace(0, 409, 64).reshape(8, 8))
    content = content[:33] + png_chunk(b"sBIT", b"\x0c") + content[33:]
    write_shard(tmp_path / "train-0.tar", [{"png": content, "txt": b"cat"}])
    photos = ShardedDataset(str(tmp_path), "train")
    photos.check_files()
    assert photos.sample(0).image.max() == 25


def test_too_many_tags_are_an_error_at_the_shard_that_has_them(tmp_path):
    for shard in range(3):
        samples = [{"png": PHOTO, "txt": f"tag {shard} {number}".encode()} for number in range(200)]
        write_shard(tmp_path / f"train-{shard}.tar", samples)
    with pytest.raises(UserError, match=r"name 400 up to .*train-1.tar; list those to train in classes.txt"):
        ShardedDataset(str(tmp_path), "train")


@pytest.mark.parametrize("spoil", [lambda content: b"", lambda content: content[:700]])
def test_a_shard_that_is_cut_off_is_found_before_training(tmp_path, spoil):
    write_shards(tmp_path, [1, 1])
    write_sizes(str(tmp_path))
    path = tmp_path / "train-000001.tar"
    path.write_bytes(spoil(path.read_bytes()))
    (tmp_path / "classes.txt").write_text("cat\ndog")
    photos = ShardedDataset(str(tmp_path), "train")
    with pytest.raises(UserError, match="need whole tar files"):
        photos.check_files()


@pytest.mark.parametrize("mixed", [0, 17])
def test_a_number_of_mixed_shards_out_of_range_is_an_error(tmp_path, mixed):
    with pytest.raises(UserError, match=r"need mixed in \[1, 16\]"):
        ShardedDataset(str(write_shards(tmp_path, [1])), "train", mixed=mixed)


def test_shards_without_photos_are_an_error(tmp_path):
    with pytest.raises(UserError, match="hold none"):
        ShardedDataset(str(write_shards(tmp_path, [0, 0])), "train")


def test_photos_to_validate_with_are_a_folder(tmp_path):
    write_shards(tmp_path, [1])
    with pytest.raises(UserError, match="need a folder of photos to validate with"):
        ShardedDataset(str(tmp_path), "val")
    for folder in ("val", "other"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")
        (tmp_path / folder / "labels.csv").write_text("file,labels\na.png,cat;dog")
    for given in ({}, {"val": str(tmp_path / "other")}):
        opened = ShardedDataset(f"{tmp_path}/train-*.tar", "val", **given)
        assert isinstance(opened, FolderDataset)
        assert opened.root.name == ("other" if given else "val")


def test_the_fingerprint_follows_number_classes_and_pixels(tmp_path):
    roots = [write_shards(tmp_path / name, counts) for name, counts in {"a": [2, 2], "b": [2, 2], "c": [2, 3]}.items()]
    one, same, other = (fingerprint(ShardedDataset(str(root), "train")) for root in roots)
    assert one == same != other


def test_labels_are_not_held_for_all_photos(tmp_path):
    photos = ShardedDataset(str(write_shards(tmp_path, [2])), "train")
    assert photos.image_labels is None
    assert list(photos.names) == []
    held = [value for value in vars(photos).values() if isinstance(value, np.ndarray)]
    assert all(len(array) == len(photos.shards) for array in held)
