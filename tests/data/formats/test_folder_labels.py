"""Labels as people have them: what each form means, and which readings are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.labeled import Content, read_labeled, write_labeled

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.folder_labels.tags import split_tags
from afa_wsss.errors import UserError

THREE = ("a.jpg", "b.jpg", "c.jpg")

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "categories": [{"id": 0, "name": "Background"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "yak"}],
    "annotations": [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 0}],
}
PANOPTIC = {**COCO, "annotations": [{"image_id": 1, "segments_info": [{"category_id": 1}]}]}

CASES: dict[str, tuple[tuple[str, ...], dict[str, Content], dict[str, list[str]]]] = {
    "multi-hot with measures": (
        THREE,
        {"labels.csv": "image,width,cat,dog\na.jpg,12,1,0\nb.jpg,12,0,1\nc.jpg,12,,no\n"},
        {"a": ["cat"], "b": ["dog"], "c": []},
    ),
    "multi-hot of a class called date": (
        THREE,
        {"labels.csv": "image,date,fig\na.jpg,1,0\nb.jpg,0,1\n"},
        {"a": ["date"], "b": ["fig"]},
    ),
    "boxes": (
        THREE,
        {"labels.csv": "filename,class,xmin\na.jpg,cat,1\na.jpg,cat,3\na.jpg,dog,4\nb.jpg,dog,1\n"},
        {"a": ["cat", "dog"], "b": ["dog"]},
    ),
    "quotes behind blanks": (
        THREE,
        {"labels.csv": 'file, labels\n"a.jpg", "cat, dog"\n"b.jpg", "dog"\n"c.jpg", "cat"\n'},
        {"a": ["cat", "dog"], "b": ["dog"], "c": ["cat"]},
    ),
    "marks that nobody sees": (
        THREE,
        {
            "labels.csv": "file,labels\na.jpg,fire\u00a0truck\nb.jpg,fire truck\u200b\n",
            "Classes.txt": "fire truck\n\ufeffdog\n",
        },
        {"a": ["fire truck"], "b": ["fire truck"]},
    ),
    "JSON lines with is_valid": (
        THREE,
        {
            "labels.jsonl": '{"file": "a.jpg", "labels": ["cat"], "is_valid": true}\n'
            '{"file": "b.jpg", "labels": [], "is_valid": 0}'
        },
        {"a": ["cat"], "b": []},
    ),
    "Open Images": (
        THREE,
        {"train.csv": "ImageID,LabelName,Confidence\na,cat,1\na,dog,0\nb,dog,1\nc,cat,0\n"},
        {"a": ["cat"], "b": ["dog"], "c": []},
    ),
    "fastai": (
        THREE,
        {"train.csv": "fname,labels,is_valid\na.jpg,chair person,False\nb.jpg,person,True\nc.jpg,chair,False\n"},
        {"a": ["chair", "person"], "b": ["person"], "c": ["chair"]},
    ),
    "index column": (THREE, {"labels.csv": ",file,label\n0,a.jpg,cat\n1,b.jpg,dog\n"}, {"a": ["cat"], "b": ["dog"]}),
    "no header": (
        THREE,
        {"labels.csv": "a.jpg,cat,dog\nb.jpg,dog\nc.jpg,\n"},
        {"a": ["cat", "dog"], "b": ["dog"], "c": []},
    ),
    "NumPy's text": (
        THREE,
        {"labels.csv": "file,labels\na.jpg,\"['cat' 'dog']\"\nb.jpg,['dog']\n"},
        {"a": ["cat", "dog"], "b": ["dog"]},
    ),
    "commas": (THREE, {"labels.csv": 'file,labels\na.jpg,"cat,dog"\nb.jpg,dog\n'}, {"a": ["cat", "dog"], "b": ["dog"]}),
    "nothing in many words": (
        THREE,
        {"labels.csv": "file,labels\na.jpg,nan\nb.jpg,None\nc.jpg,dog\n"},
        {"a": [], "b": [], "c": ["dog"]},
    ),
    "carriage returns": (
        THREE,
        {"labels.csv": "\ufefffile,labels\r\n\r\na.jpg, cat ;\r\nb.jpg,;dog;;\r\n"},
        {"a": ["cat"], "b": ["dog"]},
    ),
    "two tables": (
        THREE,
        {"train.csv": "file,labels\na.jpg,cat\n", "val.csv": "file,labels\nb.jpg,dog\n"},
        {"a": ["cat"], "b": ["dog"]},
    ),
    "places of another machine": (
        THREE,
        {"labels.csv": "path,label\nC:\\data\\a.jpg,cat\nC:\\data\\b.jpg,dog\n"},
        {"a": ["cat"], "b": ["dog"]},
    ),
    "addresses": (
        THREE,
        {"labels.csv": "url,label\nhttps://x.org/a.jpg?w=1,cat\nhttps://x.org/b.jpg,dog\n"},
        {"a": ["cat"], "b": ["dog"]},
    ),
    "decomposed letters": (
        ("u\u0308ber.jpg", "b.jpg"),
        {"labels.csv": "file,labels\n\u00fcber.jpg,ka\u0308fer\nb.jpg,k\u00e4fer \n"},
        {"u\u0308ber": ["k\u00e4fer"], "b": ["k\u00e4fer"]},
    ),
    "a dict": (THREE, {"tags.json": '{"a.jpg": ["cat"], "b.jpg": []}'}, {"a": ["cat"], "b": []}),
    "background in COCO": (THREE, {"i.json": json.dumps(COCO)}, {"a": ["cat"], "b": []}),
    "panoptic COCO": (THREE, {"i.json": json.dumps(PANOPTIC)}, {"a": ["cat"], "b": []}),
    "captions beside class folders": (
        ("cat/a.jpg", "dog/b.jpg"),
        {"metadata.jsonl": '{"file_name": "cat/a.jpg", "text": "x"}\n{"file_name": "dog/b.jpg", "text": "y"}\n'},
        {"cat/a": ["cat"], "dog/b": ["dog"]},
    ),
    "suffixes alike": (
        ("cat/1.jpg", "cat/1.png", "dog/2.jpg"),
        {},
        {"cat/1.jpg": ["cat"], "cat/1.png": ["cat"], "dog/2": ["dog"]},
    ),
    "of systems": (
        ("cat/@eaDir/1.jpg/S.jpg", "cat/1.jpg", "dog/2.jpg", "$RECYCLE.BIN/x.jpg"),
        {},
        {"cat/1": ["cat"], "dog/2": ["dog"]},
    ),
    "background in any case": (
        ("BACKGROUND/1.jpg", "scratch/2.jpg"),
        {},
        {"BACKGROUND/1": [], "scratch/2": ["scratch"]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_labels_mean(case: str, tmp_path: Path) -> None:
    photos, files, expected = CASES[case]
    write_labeled(tmp_path, photos, files)
    labels, _, problems = read_labeled(tmp_path)
    assert labels == expected
    assert [problem for problem in problems if problem.level == "error"] == []


def test_a_photo_in_another_folder_of_the_same_name_is_not_taken(tmp_path: Path) -> None:
    write_labeled(tmp_path, ("cats/a.jpg", "b.jpg"), {"labels.csv": "path,label\ndogs/a.jpg,cat\nb.jpg,dog\n"})
    with pytest.raises(UserError, match=r"1 of 2 missing: .*dogs/a\.jpg"):
        FolderDataset(tmp_path, "all").check_files()


def test_a_name_that_fits_two_photos_is_an_error(tmp_path: Path) -> None:
    write_labeled(tmp_path, ("images/x/a.jpg", "images/y/a.jpg"), {"labels.csv": "file,labels\na.jpg,cat\n"})
    with pytest.raises(UserError, match=r"a\.jpg \(labels\.csv, row 2\) may be images/x/a\.jpg, images/y/a\.jpg"):
        FolderDataset(tmp_path, "all")


@pytest.mark.parametrize(
    ("photos", "files"),
    [
        (("train/a.jpg", "test/b.jpg"), {"labels.csv": "file,labels\na.jpg,cat\nb.jpg,dog\n"}),
        (("cat/Training/a.jpg", "dog/Testing/b.jpg"), {}),
        (("all/Train/cat/a.jpg", "all/validation/dog/b.jpg"), {}),
        (("cat/a.jpg", "dog/b.jpg"), {"train.txt": "cat/a\n", "val.txt": "b.jpg\n"}),
        (
            ("images/train/a.jpg", "images/val/b.jpg"),
            {
                "annotations/instances_train2017.json": json.dumps({**COCO, "images": COCO["images"][:1],
                                                                   "annotations": COCO["annotations"][:1]}),
                "annotations/instances_val2017.json": json.dumps({**COCO, "images": COCO["images"][1:],
                                                                 "annotations": []}),
            },
        ),
    ],
)  # fmt: skip
def test_what_lies_in_a_folder_or_list_of_validation_is_held_out(
    tmp_path: Path, photos: tuple[str, ...], files: dict[str, Content]
) -> None:
    write_labeled(tmp_path, photos, files)
    assert [Path(name).name for name in FolderDataset(tmp_path, "train").names] == ["a"]
    assert [Path(name).name for name in FolderDataset(tmp_path, "val").names] == ["b"]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_labeled(store, ("cats/1.jpg",), {})
    root = tmp_path / "photos"
    write_labeled(root, ("dog/2.jpg",), {})
    (root / "cat").symlink_to(store / "cats")
    (root / "loop").symlink_to(root)
    labels, _, problems = read_labeled(root)
    assert labels == {"cat/1": ["cat"], "dog/2": ["dog"]}
    assert "loop (a link to the folder itself)" in next(
        one.message for one in problems if one.kind == "folder not read"
    )


def test_results_of_commands_beside_photos_are_neither_labels_nor_photos(tmp_path: Path) -> None:
    table = "photo,mask,class,score\ncat/a.jpg,a.png,dog,0.9\n"
    files: dict[str, Content] = {"found/predictions.csv": table, "found/predictions.json": "{}"}
    write_labeled(tmp_path, ("cat/a.jpg", "dog/b.jpg", "found/overlays/a.jpg", "found/masks/a.png"), files)
    labels, _, problems = read_labeled(tmp_path)
    assert labels == {"cat/a": ["cat"], "dog/b": ["dog"]}
    assert any("found (results of commands)" in problem.message for problem in problems)


def test_what_is_left_aside_is_named(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "labels.csv": "file,labels,verified\na.jpg,cat,1\nb.jpg,dog,1\n",
        "film.mp4": b"\0\0\0\x18ftypmp42",
        "notes.json": "{}",
    }
    write_labeled(tmp_path, THREE, files)
    _, facts, problems = read_labeled(tmp_path)
    assert facts["columns"] == "file: photo; labels: tags; not read: verified"
    assert facts["other files"] == "notes.json: not labels"
    messages = {problem.kind: problem.message for problem in problems}
    assert "1 of 3 photos are not in the labels: c.jpg" in messages["photo not in labels"]
    assert "1 .mp4 file" in messages["video skipped"]


def test_warnings_about_classes(tmp_path: Path) -> None:
    write_labeled(
        tmp_path,
        (*THREE, "d.jpg"),
        {"labels.csv": "a.jpg,cat;pet;1\nb.jpg,cat;pet;Cat\nc.jpg,dog;cat;pet\nd.jpg,cat/dog\n"},
    )
    _, _, problems = read_labeled(tmp_path)
    kinds = {problem.kind for problem in problems if problem.level == "warning"}
    assert kinds >= {"classes alike", "classes always together", "classes are numbers", "classes joined"}
    for held_out in ("train", "val"):
        write_labeled(
            tmp_path, (), {"labels.csv": f"file,labels,split\na.jpg,cat,train\nb.jpg,cat,{held_out}\nc.jpg,cat,val\n"}
        )
    _, _, problems = read_labeled(tmp_path)
    assert "the only class is in every photo to train on" in next(
        one.message for one in problems if "every" in one.kind
    )


def test_classes_in_alphabetical_order_without_regard_to_case(tmp_path: Path) -> None:
    write_labeled(tmp_path, THREE, {"labels.csv": "a.jpg,Zebra;ant\nb.jpg,Bee\nc.jpg,ant\n"})
    assert FolderDataset(tmp_path, "all").class_names == ("ant", "Bee", "Zebra")
    write_labeled(tmp_path, (), {"classes.txt": "bee\nZebra\nant\n"})
    with pytest.raises(UserError, match=r"names 'Bee' \('bee' is listed\)"):
        FolderDataset(tmp_path, "all")


def test_labels_may_be_chosen_among_several_files(tmp_path: Path) -> None:
    write_labeled(tmp_path, THREE, {"x.csv": "file,labels\na.jpg,cat\n", "y.csv": "file,labels\nb.jpg,dog\n"})
    assert FolderDataset(tmp_path, "all", labels="y.csv").class_names == ("dog",)
    with pytest.raises(UserError, match=r"need labels to be a file in .*, got z\.csv"):
        FolderDataset(tmp_path, "all", labels="z.csv")


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl", "coco.json", "onehot.npy", "labelme.json"])
@pytest.mark.parametrize("outside", [False, True])
def test_labels_may_be_an_absolute_path_in_the_folder_or_outside(
    tmp_path: Path, name: str, outside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{'labels' if outside else 'photos'}/{name}"
    write_labeled(tmp_path, ("photos/a.jpg", "photos/b.jpg"), {"photos/classes.txt": "cat\nyak\n", place: b""})
    shape = {"shapes": [{"label": "cat"}], "imagePath": "a.jpg"}
    contents = {"labels.csv": "file,label\na.jpg,cat\n", "labels.jsonl": '{"file": "a.jpg", "labels": ["cat"]}',
                "coco.json": json.dumps(COCO), "labelme.json": json.dumps(shape)}  # fmt: skip
    if name in contents:
        (tmp_path / place).write_text(contents[name])
    else:
        np.save(tmp_path / place, {"a": np.array([1, 0])}, allow_pickle=True)  # type: ignore[arg-type]  # as they do it
    monkeypatch.chdir(tmp_path)
    for root in (Path("photos"), tmp_path / "photos"):
        labels, _, _ = read_labeled(root, labels=str(tmp_path / place))
        assert labels["a"] == ["cat"]


def test_a_folder_beside_that_may_not_be_read_is_no_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labeled(tmp_path, ("photos/a.jpg", "photos/b.jpg", "lost+found/c.jpg"), {})
    entries = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:  # the tests may run as root, who reads everything
        if self.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(self))
        return entries(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(UserError, match="need labels for the photos of"):
        FolderDataset(tmp_path / "photos", "all")


def test_names_of_a_list_are_never_split() -> None:
    assert split_tags(["tench, Tinca tinca", "cat"], ["tench, Tinca tinca", "cat"])[0] == [
        ("tench, Tinca tinca",),
        ("cat",),
    ]
