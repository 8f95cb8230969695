"""Every form that people's labels have gives the same photos, tags and splits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.formats.forms import (
    FOLDER_FORMS,
    TABLES,
    WITHOUT_SPLITS,
    Set,
    Tagged,
    classes_of,
    evil_pickle,
    write_photos,
)

from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError

Write = Callable[[Path, Set], None]

PHOTOS: Set = {
    "a": Tagged(frozenset({"cat", "dog"})),
    "b 1": Tagged(frozenset({"dog"}), "val"),
    "über": Tagged(frozenset({"hot dog"})),
    "none": Tagged(frozenset()),
    "IMG_0001": Tagged(frozenset({"Zebra", "cat"}), "val"),
    "c.v2": Tagged(frozenset({"hot dog", "Zebra"})),
}


def _read(root: Path, split: str) -> dict[str, frozenset[str]]:
    try:
        dataset = FolderDataset(root, split)
    except UserError as error:
        if "need at least one photo" in str(error):
            return {}
        raise
    dataset.check_files()
    return {
        Path(name).name: frozenset(dataset.class_names[column] for column in np.flatnonzero(row))
        for name, row in zip(dataset.names, dataset.image_labels, strict=True)
    }


def _expected(photos: Set, split: str) -> dict[str, frozenset[str]]:
    return {name: photo.labels for name, photo in photos.items() if split in ("all", photo.split)}


@pytest.mark.parametrize("write", [*TABLES, *FOLDER_FORMS])
def test_forms_with_splits(write: Write, tmp_path: Path) -> None:
    write(tmp_path, PHOTOS)
    for split in ("train", "val", "all"):
        assert _read(tmp_path, split) == _expected(PHOTOS, split)
    assert FolderDataset(tmp_path, "all").class_names == ("cat", "dog", "hot dog", "Zebra")


@pytest.mark.parametrize("write", WITHOUT_SPLITS)
def test_forms_without_splits(write: Write, tmp_path: Path) -> None:
    write(tmp_path, PHOTOS)
    assert _read(tmp_path, "all") == _expected(PHOTOS, "all")
    assert sorted([*_read(tmp_path, "train"), *_read(tmp_path, "val")]) == sorted(PHOTOS)


NAMES = st.text(alphabet="abcXYZ019_-äé ", min_size=1, max_size=8).map(str.strip).filter(
    lambda name: name.casefold() not in {"", "-", "na", "train", "val"} and not name[0].isdigit()
)  # fmt: skip
LABELS = st.sampled_from(["cat", "hot dog", "Ünder", "T-shirt", "dog's", "no 5"])


@st.composite
def random_sets(draw: st.DrawFn) -> Set:
    names = draw(st.lists(NAMES, min_size=2, max_size=7, unique_by=str.casefold))
    photos = {
        name: Tagged(frozenset(draw(st.frozensets(LABELS, max_size=3))), draw(st.sampled_from(["train", "val"])))
        for name in names
    }
    first, *_, last = names
    return {
        **photos,
        first: Tagged(photos[first].labels | {"cat"}, "train"),
        last: Tagged(photos[last].labels | {"hot dog"}, "val"),
    }


@pytest.mark.parametrize("write", [*TABLES, *FOLDER_FORMS, *WITHOUT_SPLITS])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(photos=random_sets())
def test_a_random_set_reads_back_the_same(write: Write, photos: Set) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, photos)
        for split in ("all",) if write in WITHOUT_SPLITS else ("train", "val", "all"):
            assert _read(root, split) == _expected(photos, split)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write_photos(tmp_path, PHOTOS)
    evil_pickle(tmp_path / "cls_labels_onehot.npy")
    with pytest.raises(UserError, match=r"need a pickled dict of NumPy arrays .*, got it would call builtins\.exec"):
        FolderDataset(tmp_path, "all")
    assert classes_of(PHOTOS) == ["Zebra", "cat", "dog", "hot dog"]
