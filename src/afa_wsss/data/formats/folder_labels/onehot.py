"""``cls_labels_onehot.npy`` of the repositories of weakly supervised segmentation: a pickled dict of arrays."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES
from afa_wsss.data.formats.folder_labels.reading import Reading, TaggedPhoto, as_posix
from afa_wsss.errors import UserError

ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("_codecs", "encode"),  # bytes in pickles of protocol 2
}
"""What a pickle may call: the makers of NumPy arrays alone."""

NAMED_SETS = {len(VOC_CLASSES): ("VOC", VOC_CLASSES), len(COCO_CLASSES): ("COCO", COCO_CLASSES)}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it would call {module}.{name}")
        return super().find_class(module, name)


def read_onehot(path: Path, root: Path, known: Sequence[str] = ()) -> Reading:
    """Photos and their multi-hot labels; nothing in the file but NumPy arrays is ever made or called.

    Args:
        path: The file.
        root: The data set's folder.
        known: Classes of ``classes.txt``; where there are none, 20 columns are VOC's classes and 80 are COCO's.

    Raises:
        UserError: For a file that holds something else, and where no names fit its columns.
    """
    content = _unpickled(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"need a dict of photos and labels in {path}, got {type(content).__name__}; export it again")
    rows = {str(name): _vector(path, name, values) for name, values in content.items()}
    lengths = {len(values) for values in rows.values()}
    width = lengths.pop()
    if lengths:
        raise UserError(
            f"need as many labels for each photo in {path}, got {sorted({width, *lengths})}; export it again"
        )
    whose, names = ("classes.txt", tuple(known)) if known else NAMED_SETS.get(width, ("", ()))
    if len(names) != width:
        raise UserError(
            f"need the names of the {width} classes of {path} in classes.txt, one a line, got {len(names)}; write them"
        )
    beside = path.parent.relative_to(root).as_posix()
    photos = [
        TaggedPhoto(_file_name(name), tuple(names[column] for column in np.flatnonzero(values)), "",
                    f"{path.name}, {name}", (beside, "", "JPEGImages"))
        for name, values in rows.items()
    ]  # fmt: skip
    facts = [("classes", f"{width} columns, named by {whose}{'' if known else chr(39) + 's classes'}")]
    return Reading("one-hot labels of WSSS repositories", path, photos, facts, [], names)


def _unpickled(path: Path) -> object:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype != np.dtype(object) or shape != ():
                raise UserError(f"need a pickled dict in {path}, got an array of {shape} {dtype}; export it again")
            array = _ArraysOnly(file, encoding="latin1").load()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"need a pickled dict of NumPy arrays in {path}, got {error}; export it again") from error
    return array.item() if isinstance(array, np.ndarray) and array.shape == () else array


def _vector(path: Path, name: object, values: object) -> NDArray[np.generic]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise UserError(f"need 0 and 1 for each class in {path}, {name!r} has {array.tolist()!r}; export it again")
    return array


def _file_name(name: str) -> str:
    """A photo's name; repositories that store VOC's as numbers leave out the ``_``: 2007000032."""
    number = name.isdecimal() and len(name) == 10 and name.startswith("20")
    return f"{name[:4]}_{name[4:]}" if number else as_posix(name)
