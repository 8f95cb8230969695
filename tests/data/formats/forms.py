"""Sets of photos with tags and splits, written as annotation tools, spreadsheets and folders hold them."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tests.data.samples import write_photo


class Tagged(NamedTuple):
    """Classes and split of a photo; without a split, ``all`` is compared alone."""

    labels: frozenset[str]
    split: str = "train"


Set = Mapping[str, Tagged]
"""By name, without folder and suffix."""

FOLDERS = {"train": "train", "val": "valid"}


def classes_of(photos: Set) -> list[str]:
    return sorted({label for photo in photos.values() for label in photo.labels})


def write_photos(folder: Path, photos: Set, *, by_split: Mapping[str, str] | None = None) -> None:
    for red, (name, photo) in enumerate(photos.items()):
        inner = by_split[photo.split] if by_split else "."
        write_photo(folder / inner / f"{name}.jpg", red % 256)


def table(rows: list[list[str]], separator: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()


def coco(photos: Set, *, as_text: bool = False, folder: str = "", info: str = "", root: bool = False) -> str:
    classes = classes_of(photos)
    key: Callable[[int], object] = str if as_text else int
    categories = [
        {"id": key(10 + index), "name": name, "supercategory": "things"} for index, name in enumerate(classes)
    ]
    if root:
        categories.insert(0, {"id": key(0), "name": "things", "supercategory": "none"})
    return json.dumps(
        {
            "info": {"description": info},
            "images": [
                {"id": key(index), "file_name": f"{folder}{name}.jpg", "width": 12, "height": 8}
                for index, name in enumerate(photos)
            ],
            "categories": categories,
            "annotations": [
                {"id": key(0), "image_id": key(index), "category_id": key(10 + classes.index(label))}
                for index, photo in enumerate(photos.values())
                for label in sorted(photo.labels)
            ],
        }
    )  # fmt: skip


def parts(photos: Set) -> dict[str, Set]:
    return {
        split: {name: photo for name, photo in photos.items() if photo.split == split} for split in ("train", "val")
    }


# --- tables ---


def csv_table(root: Path, photos: Set) -> None:
    write_photos(root, photos)
    rows = [[f"{name}.jpg", ";".join(sorted(photo.labels)), photo.split] for name, photo in photos.items()]
    (root / "labels.csv").write_text(table([["file", "labels", "split"], *rows]), encoding="utf-8")


def semicolons_with_sep_line(root: Path, photos: Set) -> None:
    write_photos(root / "images", photos)
    rows = [[photo.split, f"{name}.jpg", "|".join(sorted(photo.labels))] for name, photo in photos.items()]
    text = table([["Split", "Image Name", "Tags"], *rows], ";")
    (root / "tags of photos.csv").write_text(f"sep=;\n{text}", encoding="utf-8-sig")


def tsv_of_lists(root: Path, photos: Set) -> None:
    write_photos(root, photos)
    rows = [
        [str(index), repr(sorted(photo.labels)), name, photo.split, "", ""]
        for index, (name, photo) in enumerate(photos.items())
    ]
    (root / "photos.tsv").write_text(table([["", "classes", "image_id", "subset", "", ""], *rows], "\t"), "utf-16")


def multi_hot(root: Path, photos: Set) -> None:
    """Roboflow's form: one table in each split's folder, blanks after the commas."""
    classes = classes_of(photos)
    write_photos(root, photos, by_split=FOLDERS)
    (root / "README.dataset.txt").write_text("exported")
    for split, part in parts(photos).items():
        rows = [
            [f"{name}.jpg", *(str(int(label in photo.labels)) for label in classes)] for name, photo in part.items()
        ]
        if part:
            text = table([["filename", *(f" {label}" for label in classes)], *rows])
            (root / FOLDERS[split] / "_classes.csv").write_text(text, encoding="utf-8")


def row_for_each_class(root: Path, photos: Set) -> None:
    write_photos(root / "Images", photos)
    rows = [
        [f"{name}.jpg", label, "True" if photo.split == "val" else "False", "12"]
        for name, photo in photos.items()
        for label in (sorted(photo.labels) or [""])
    ]
    (root / "train.csv").write_text(table([["fname", "label", "is_valid", "width"], *rows]), encoding="utf-8")


def column_for_each_tag(root: Path, photos: Set) -> None:
    write_photos(root, photos)
    most = max(len(photo.labels) for photo in photos.values())
    rows = [
        [f"{name}.jpg", photo.split, *sorted(photo.labels), *[""] * (most - len(photo.labels))]
        for name, photo in photos.items()
    ]
    head = ["path", "split", *(f"tag_{index + 1}" for index in range(most))]
    (root / "labels.csv").write_text(table([head, *rows]), encoding="utf-8")


def one_hot_pickle(root: Path, photos: Set) -> None:
    classes = classes_of(photos)
    write_photos(root / "JPEGImages", photos)
    rows = {name: np.array([label in photo.labels for label in classes], np.float32) for name, photo in photos.items()}
    np.save(root / "cls_labels_onehot.npy", rows, allow_pickle=True)  # type: ignore[arg-type]  # a dict, as they do it
    (root / "classes.txt").write_text("\n".join(classes), encoding="utf-8")


# --- JSON ---


def coco_file(root: Path, photos: Set) -> None:
    write_photos(root, photos)
    (root / "instances.json").write_text(coco(photos, as_text=True, root=True), encoding="utf-8")
    (root / "notes.json").write_text('{"made": "by hand"}')


def roboflow(root: Path, photos: Set) -> None:
    write_photos(root, photos, by_split=FOLDERS)
    (root / "README.roboflow.txt").write_text("exported")
    for split, part in parts(photos).items():
        if part:
            (root / FOLDERS[split] / "_annotations.coco.json").write_text(coco(part, root=True), encoding="utf-8")


def cvat(root: Path, photos: Set) -> None:
    write_photos(root / "images", photos, by_split={"train": "Train", "val": "Validation"})
    (root / "annotations").mkdir(parents=True)
    for split, subset in (("train", "Train"), ("val", "Validation")):
        part = parts(photos)[split]
        if part:
            (root / "annotations" / f"instances_{subset}.json").write_text(coco(part), encoding="utf-8")


def cvat_flat(root: Path, photos: Set) -> None:
    write_photos(root / "images", photos)
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "instances_default.json").write_text(coco(photos), encoding="utf-8")


def fiftyone(root: Path, photos: Set) -> None:
    write_photos(root / "data", photos)
    (root / "labels.json").write_text(coco(photos, info="FiftyOne"), encoding="utf-8")


def fiftyone_classes(root: Path, photos: Set) -> None:
    classes = classes_of(photos)
    write_photos(root / "data", photos)
    labels = {name: [classes.index(label) for label in sorted(photo.labels)] or None for name, photo in photos.items()}
    (root / "labels.json").write_text(json.dumps({"classes": classes, "labels": labels}), encoding="utf-8")


def label_studio(root: Path, photos: Set) -> None:
    write_photos(root / "images", photos)
    text = coco(photos, folder="..\\..\\media\\upload\\1\\", info="Label Studio")
    (root / "result.json").write_text(text, encoding="utf-8")


def label_studio_local_files(root: Path, photos: Set) -> None:
    write_photos(root / "images", photos)
    text = coco(photos, folder="/data/local-files/?d=my%20photos/")
    (root / "result.json").write_text(text, encoding="utf-8")


def labelme(root: Path, photos: Set) -> None:
    write_photos(root, photos)
    for name, photo in photos.items():
        shapes = [{"label": label, "points": [[0, 0], [3, 3]]} for label in sorted(photo.labels)]
        content = {"version": "5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None}
        (root / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def hugging_face(root: Path, photos: Set) -> None:
    write_photos(root, photos, by_split={"train": "train", "val": "validation"})
    for split, folder in (("train", "train"), ("val", "validation")):
        rows = [
            json.dumps({"file_name": f"{name}.jpg", "objects": {"bbox": [], "categories": sorted(photo.labels)}})
            for name, photo in parts(photos)[split].items()
        ]
        if rows:
            (root / folder / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")


def json_lines(root: Path, photos: Set) -> None:
    write_photos(root, photos)
    rows = [
        json.dumps({"file": f"{name}.jpg", "labels": sorted(photo.labels), "split": photo.split}, ensure_ascii=False)
        for name, photo in photos.items()
    ]
    (root / "labels.jsonl").write_text("\n".join(rows), encoding="utf-8")


# --- folders; several classes are copies of one photo ---


def class_folders(root: Path, photos: Set, place: str = "{split}/{label}") -> None:
    for red, (name, photo) in enumerate(photos.items()):
        for label in photo.labels or {"Background"}:
            write_photo(root / place.format(split=FOLDERS[photo.split], label=label) / f"{name}.jpg", red % 256)


def splits_in_class_folders(root: Path, photos: Set) -> None:
    class_folders(root / "my photos", photos, "{label}/{split}")


def splits_with_images(root: Path, photos: Set) -> None:
    class_folders(root, photos, "{split}/Images/{label}")


TABLES = (
    csv_table,
    semicolons_with_sep_line,
    tsv_of_lists,
    multi_hot,
    row_for_each_class,
    column_for_each_tag,
    json_lines,
    roboflow,
    cvat,
    hugging_face,
)
"""Forms with splits."""

WITHOUT_SPLITS = (
    one_hot_pickle,
    coco_file,
    cvat_flat,
    fiftyone,
    fiftyone_classes,
    label_studio,
    label_studio_local_files,
    labelme,
)

FOLDER_FORMS = (class_folders, splits_in_class_folders, splits_with_images)


class Evil:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('code of a pickle was run')",)


def evil_pickle(path: Path) -> None:
    array = np.empty((), dtype=object)
    array[()] = {"a": Evil()}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(array, file, protocol=3)
