"""Files that might hold labels and are not read, and why nothing was understood of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from afa_wsss.data.files.photos import is_photo
from afa_wsss.data.formats.folder_labels.contents import Contents
from afa_wsss.data.formats.folder_labels.reading import counted, listed
from afa_wsss.errors import UserError

FORMS = "labels.csv (file,labels), labels.jsonl, a COCO *.json, or a folder of photos for each class"
FOREIGN = {
    ".xlsx": "a spreadsheet: save it as CSV",
    ".xls": "a spreadsheet: save it as CSV",
    ".ods": "a spreadsheet: save it as CSV",
    ".parquet": "a table that is not read: save it as CSV",
    ".xml": "XML, such as Pascal VOC's: export it as COCO JSON",
    ".yaml": "such as YOLO's: export it as COCO JSON",
    ".yml": "such as YOLO's: export it as COCO JSON",
    ".zip": "an archive: unpack it",
    ".tar": "an archive: unpack it",
    ".gz": "an archive: unpack it",
}
"""What files look like that hold labels in forms that are not read, by suffix."""


NotRead = dict[str, str | UserError]
"""Why files that might hold labels were not read, by file."""


def nothing_understood(contents: Contents, not_read: NotRead, no_classes: Sequence[str] = ()) -> UserError:
    """Why nothing was understood: what is there, and what to do.

    Args:
        contents: What lies in the data set's folder.
        not_read: Why files that might hold labels were not read.
        no_classes: Folders of photos and of their masks.
    """
    root, seen = contents.root, []
    broken = next((why for why in not_read.values() if isinstance(why, UserError)), None)
    if broken is not None:
        return broken
    direct = sum("/" not in photo for photo in contents.photos)
    if contents.photos:
        seen.append(f"{counted(len(contents.photos), 'photo')}, {direct} of them not in a folder")
    seen += [f"{file} ({why})" for file, why in list(not_read.items())[:3]]
    advice = f"add {FORMS}"
    if no_classes:
        seen.append(f"{listed(no_classes)}, which are no classes by their names, but photos and their masks")
        advice += "; masks belong into a folder masks"
    beside = _class_folders_beside(root) if direct == len(contents.photos) > 0 else []
    if len(beside) > 1:
        advice += f"; or give the folder above, if {listed(beside, 3)} are its classes"
    return UserError(f"need labels for the photos of {root}, found {'; '.join(seen) or 'none'}; {advice}")


def _class_folders_beside(root: Path) -> list[str]:
    """Folders beside one that hold a photo among their first files; those that may not be read are left out."""
    folders = [path for path in _entries(root.absolute().parent) if path.is_dir() and not path.name.startswith(".")]
    beside = sorted(folders)[:100]
    return [path.name for path in beside if any(is_photo(Path(file.name)) for file in _entries(path, most=20))]


def _entries(folder: Path, most: int | None = None) -> list[Path]:
    """The first entries of a folder; none where it may not be read."""
    try:
        return list(islice(folder.iterdir(), most))
    except OSError:
        return []
