from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.labeled import labels_of
from tests.data.samples import write_photo

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError

LABELS = {"a.jpg": ["dog"], "b 1.png": ["cat", "dog"], "sub/c.jpg": ["cat"], "über.jpg": ["emu"]}


def _as_csv(root: Path) -> None:
    rows = "".join(f"{file},{'; '.join(labels)}\n" for file, labels in LABELS.items())
    (root / "labels.csv").write_text(f"\ufefffile,labels\n{rows}\n", encoding="utf-8")


def _as_json_lines(root: Path) -> None:
    rows = "".join(json.dumps({"file": file, "labels": labels}) + "\n" for file, labels in LABELS.items())
    (root / "labels.jsonl").write_text(rows, encoding="utf-8")


def _as_coco(root: Path) -> None:
    names = ["dog", "cat", "emu"]
    content = {
        "images": [{"id": index, "file_name": file} for index, file in enumerate(LABELS)],
        "categories": [{"id": 10 + index, "name": name} for index, name in enumerate(names)],
        "annotations": [
            {"image_id": index, "category_id": 10 + names.index(label)}
            for index, labels in enumerate(LABELS.values())
            for label in (*labels, *labels)
        ],
    }
    (root / "annotations.json").write_text(json.dumps(content))


FORMS = {"csv": _as_csv, "jsonl": _as_json_lines, "coco": _as_coco}


@pytest.fixture(params=FORMS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for red, file in enumerate(LABELS):
        write_photo(tmp_path / file, red)
    FORMS[request.param](tmp_path)
    return tmp_path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for red, file in enumerate(LABELS):
        write_photo(tmp_path / file, red)
    _as_csv(tmp_path)
    return tmp_path


def test_every_form_of_table_gives_the_same_labels(root: Path) -> None:
    dataset: SegmentationDataset = FolderDataset(root, "all")
    dataset.check_files()
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.palette.shape == (4, 3)
    assert labels_of(dataset) == {"a": {"dog"}, "b 1": {"cat", "dog"}, "sub/c": {"cat"}, "über": {"emu"}}
    sample = dataset.sample(1)
    assert sample.image.shape == (8, 12, 3)
    assert sample.image_labels.tolist() == [1, 1, 0]
    assert sample.mask is None


def test_photos_may_be_in_images(table: Path) -> None:
    (table / "images").mkdir()
    for file in LABELS:
        (table / "images" / file).parent.mkdir(exist_ok=True)
        (table / file).rename(table / "images" / file)
    FolderDataset(table, "all").check_files()


def test_splits_are_those_of_the_table(tmp_path: Path) -> None:
    for name in "abc":
        write_photo(tmp_path / f"{name}.jpg")
    (tmp_path / "labels.csv").write_text("file,split,labels\na.jpg,train,dog\nb.jpg,valid,dog;cat\nc.jpg,,cat\n")
    assert FolderDataset(tmp_path, "train").names == ["a", "c"]
    assert FolderDataset(tmp_path, "val").names == ["b"]
    assert FolderDataset(tmp_path, "val").class_names == ("cat", "dog")


def test_photos_with_masks_are_held_out_where_there_are_no_splits(table: Path) -> None:
    label, palette = np.full((8, 12), 3, dtype=np.uint8), np.arange(0, 120, 10, dtype=np.uint8).reshape(4, 3)
    write_mask(table / "masks" / "sub" / "c.png", label, palette)
    assert FolderDataset(table, "train").names == ["a", "b 1", "über"]
    held_out = FolderDataset(table, "val", with_masks=True)
    assert held_out.names == ["sub/c"]
    np.testing.assert_array_equal(held_out.sample(0).mask, label)
    np.testing.assert_array_equal(held_out.palette, palette)


def test_classes_that_no_photo_to_validate_with_has_are_named_by_that_split_alone(tmp_path: Path) -> None:
    for name in "abc":
        write_photo(tmp_path / f"{name}.jpg")
    (tmp_path / "labels.csv").write_text("file,labels,split\na.jpg,dog,train\nb.jpg,cat,train\nc.jpg,cat,val\n")
    kinds = {split: [problem.kind for problem in FolderDataset(tmp_path, split).warnings] for split in ("val", "all")}
    assert kinds == {"val": ["class not held out"], "all": []}


def test_classes_txt_orders_the_classes(table: Path) -> None:
    (table / "classes.txt").write_text("emu\ndog\nyak\ncat\n")
    assert FolderDataset(table, "all").class_names == ("emu", "dog", "yak", "cat")
    (table / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(UserError, match=r"need classes that .*classes\.txt lists, .*labels\.csv names 'emu'; add it"):
        FolderDataset(table, "all")


def test_everything_wrong_with_a_table_is_reported_in_one_pass(table: Path) -> None:
    with (table / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("../out.jpg,dog\n/etc/passwd,dog\na.jpg,cat\na.png,cat\nd.jpg\ne.jpg,dog,val,more\nbare.jpg,\n")
    found: list[Problem] = []
    dataset = FolderDataset(table, "all", report=found.extend)
    _ = dataset.image_labels
    kinds = sorted((problem.kind, problem.name) for problem in found if problem.level == "error")
    assert kinds == [
        ("listed twice", "a.jpg"),
        ("name leaves folder", "../out"),
        ("name leaves folder", "/etc/passwd"),
        ("row malformed", "d.jpg"),
        ("row malformed", "e.jpg"),
    ]
    assert list(dataset.names) == ["a.jpg", "b 1", "sub/c", "über", "a.png", "bare"]
    with pytest.raises(UserError, match="row 11 has 1 cells"):
        FolderDataset(table, "all")


@pytest.mark.parametrize("line", ["{", "[]", '{"file": "a.jpg"}', '{"file": "a.jpg", "labels": 3}', "3"])
def test_malformed_lines_are_named(tmp_path: Path, line: str) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "labels.jsonl").write_text(f'{{"file": "b.jpg", "labels": "dog"}}\n{line}\n')
    with pytest.raises(UserError, match=r"on each line of .*labels\.jsonl, line 2 is different"):
        FolderDataset(tmp_path, "all")


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "need labels for the photos of .*, found none; add labels.csv"),
        (
            {"labels.csv": "a.jpg,cat", "labels.jsonl": '{"file": "a.jpg", "labels": []}'},
            "need one file of labels in .*, got labels.csv, labels.jsonl",
        ),
        (
            {"labels.csv": "file,color\na.jpg,red\n"},
            "need a column with the classes of each photo in .* such as labels, got file, color; name it",
        ),
        ({"labels.csv": "file,labels\n"}, "need 1 to 254 classes, .*labels.csv names 0"),
        (
            {"coco.json": '{"images": []}'},
            r"need labels .*, found coco\.json \(COCO without annotations and categories\); add",
        ),
        (
            {"labels.csv": "a.jpg,cat\n", "classes.txt": "cat\ndog\ncat\n"},
            "need each class once, classes.txt names cat more than once; fix it",
        ),
        ({"labels.csv": b"a.jpg,caf\xe9\n"}, r"need a list in UTF-8, .*labels\.csv is not"),
    ],
    ids=["none", "two", "columns", "empty", "not-coco", "twice", "latin"],
)
def test_folders_without_labels_are_refused(tmp_path: Path, files: dict[str, str | bytes], complaint: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=complaint):
        FolderDataset(tmp_path, "all")


def test_an_unknown_split_and_a_missing_folder_are_refused(table: Path) -> None:
    with pytest.raises(UserError, match=r"need split to be train, val or all .* got test") as refusal:
        FolderDataset(table, "test")
    assert refusal.value.arguments == ("split",)
    with pytest.raises(UserError, match=r"need root to be a folder of photos, got .* which does not exist"):
        FolderDataset(table / "nowhere", "train")
    (table / "labels.csv").write_text("file,labels,split\na.jpg,dog,val\n")
    with pytest.raises(UserError, match=r"need at least one photo to train on, .* has none in split train"):
        FolderDataset(table, "train")


def test_masks_of_unknown_classes_are_refused_with_the_range(table: Path) -> None:
    write_mask(table / "masks" / "a.png", np.full((8, 12), 4, dtype=np.uint8), voc_palette(5))
    with pytest.raises(UserError, match="need class ids of 0 to 3 or 255 in masks"):
        FolderDataset(table, "val", with_masks=True).sample(0)


@pytest.mark.parametrize(
    "table",
    [
        "file;labels\na.jpg;cat;dog\nsub/b.c.jpg;dog\n",
        'a.jpg;"cat;dog"\nsub/b.c.jpg;dog\n',
        'file;labels;split\na.jpg;"cat;dog";train\nsub/b.c.jpg;dog;train\n',
        "path,tags\na.jpg,cat;dog\nsub\\b.c.jpg,dog\n",
        "a,cat;dog\nsub/b.c,dog\n",
    ],
)
@pytest.mark.parametrize("inside", [".", "images"])
def test_tables_from_spreadsheets_and_windows_and_without_suffixes(tmp_path: Path, table: str, inside: str) -> None:
    write_photo(tmp_path / inside / "a.jpg")
    write_photo(tmp_path / inside / "sub" / "b.c.jpg")
    (tmp_path / "labels.csv").write_text(table)
    dataset = FolderDataset(tmp_path, "all" if "split" not in table else "train")
    dataset.check_files()
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_labels.tolist() == [[1, 1], [0, 1]]
    assert dataset.names == ["a", "sub/b.c"]


def test_classes_that_differ_only_in_case_are_reported(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "labels.csv").write_text("a.jpg,cat;Cat\n")
    found: list[Problem] = []
    FolderDataset(tmp_path, "all", report=found.extend)
    assert ("classes alike", "warning") in [(problem.kind, problem.level) for problem in found]
    FolderDataset(tmp_path, "all")


def test_broken_links_of_equal_names_are_missing_photos(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        write_photo(tmp_path / kind / f"{kind}.jpg")
        (tmp_path / kind / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"need every photo that .* lists, 2 of 4 missing: .*gone\.jpg"):
        FolderDataset(tmp_path, "all").check_files()


def test_photos_are_found_in_images_even_if_the_first_is_missing(tmp_path: Path) -> None:
    for name in ("b.jpg", "c.JPG"):
        write_photo(tmp_path / "images" / name)
    (tmp_path / "labels.csv").write_text("a,cat\nb,cat\nc,cat\n")
    with pytest.raises(UserError, match=r", 1 of 3 missing: .*images/a; add"):
        FolderDataset(tmp_path, "all").check_files()
    assert Path(FolderDataset(tmp_path, "all").photo_path(2)).is_file()


def test_a_coco_file_in_another_encoding_is_refused_in_one_line_and_a_byte_order_mark_is_accepted(
    tmp_path: Path,
) -> None:
    _as_coco(tmp_path)
    text = (tmp_path / "annotations.json").read_text()
    (tmp_path / "annotations.json").write_text(text, encoding="utf-8-sig")
    assert FolderDataset(tmp_path, "all").class_names == ("cat", "dog", "emu")
    (tmp_path / "annotations.json").write_text(text.replace("emu", "ému"), encoding="latin-1")
    with pytest.raises(UserError, match=r"need a list in UTF-8, .*annotations\.json is not") as refusal:
        FolderDataset(tmp_path, "all")
    assert len(str(refusal.value)) < 300 + len(str(tmp_path))


def test_classes_joined_by_another_mark_are_split_where_the_parts_are_classes(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "labels.csv").write_text('a.jpg,"dog, cat"\nb.jpg,"dog;cat;tench, Tinca tinca"\n')
    found: list[Problem] = []
    FolderDataset(tmp_path, "all", report=found.extend)
    assert FolderDataset(tmp_path, "all").class_names == ("cat", "dog", "tench, Tinca tinca")


def test_a_list_of_classes_in_other_case_gives_their_order(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", 50)
    (tmp_path / "labels.csv").write_text("a.jpg,dog\n")
    (tmp_path / "Classes.txt").write_text("zebra\ndog\n")
    dataset = FolderDataset(tmp_path, "all")
    assert dataset.class_names == ("zebra", "dog")
    assert not any("Classes.txt" in problem.message for problem in dataset.warnings)


def test_is_valid_of_json_lines_holds_photos_out(tmp_path: Path) -> None:
    rows = []
    for name, word in (("a", "true"), ("b", "false"), ("c", '"yes"'), ("d", "0")):
        write_photo(tmp_path / f"{name}.jpg", 50)
        rows.append(f'{{"file": "{name}.jpg", "labels": ["dog"], "is_valid": {word}}}')
    (tmp_path / "labels.jsonl").write_text("\n".join(rows))
    assert list(FolderDataset(tmp_path, "val").names) == ["a", "c"]
    (tmp_path / "labels.jsonl").write_text(rows[0].replace("true", '"perhaps"'))
    with pytest.raises(UserError, match=r"need true or false as is_valid in .*, line 1 has 'perhaps'; fix it"):
        FolderDataset(tmp_path, "all")
