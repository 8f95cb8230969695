"""COCO JSON, as annotation tools export it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.beside import folders_of, subset_of
from afa_wsss.data.formats.folder_labels.reading import (
    NO_CLASS,
    Reading,
    TaggedPhoto,
    as_posix,
    class_name,
    in_order,
    listed,
    unique,
)
from afa_wsss.errors import UserError

KEYS = ("images", "annotations", "categories")


def looks_like_coco(content: object) -> bool:
    """Whether parsed JSON holds labels in COCO's form: photos, objects and their categories."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in KEYS)


def read_coco(path: Path, root: Path, content: Mapping[str, Any]) -> Reading:
    """Photos of a COCO file with the categories of their objects; photos without objects are negatives.

    Ids may be numbers or text.

    Args:
        path: The file.
        root: The data set's folder.
        content: Its parsed JSON.

    Raises:
        UserError: For entries without the members that COCO defines.
    """
    try:
        categories = {str(category["id"]): class_name(str(category["name"])) for category in content["categories"]}
        files = {str(photo["id"]): as_posix(str(photo["file_name"])) for photo in content["images"]}
        labels, problems = _labels(path, content["annotations"], categories, files)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"need COCO's images, annotations and categories in {path}, got {error!r}; fix the file or move it away"
        ) from error
    if len(files) < len(content["images"]):
        raise UserError(
            f"need an id of its own for each photo in {path}, {len(content['images'])} photos have {len(files)} ids; "
            "export it again"
        )
    named = {(str(category["id"]), class_name(str(category["name"]))) for category in content["categories"]}
    if twice := sorted(key for key, count in Counter(key for key, _ in named).items() if count > 1):
        names = in_order(name for key, name in named if key == twice[0])
        raise UserError(
            f"need an id of its own for each category in {path}, {listed(names)} share {twice[0]}; export it again"
        )
    beside = folders_of(path, root, subset_of(path))
    photos = [
        TaggedPhoto(file, unique(labels[photo], empty=NO_CLASS), "", f"{path.name}, image {photo}", beside)
        for photo, file in files.items()
    ]
    used = {name for photo in photos for name in photo.labels}
    unused = in_order(set(categories.values()) - used)
    facts = [("categories without objects", listed(unused))] if unused else []
    return Reading(f"COCO JSON{_tool(path, content)}", path, photos, facts, problems)


def _labels(
    path: Path, annotations: Sequence[Any], categories: Mapping[str, str], files: Mapping[str, str]
) -> tuple[Mapping[str, list[str]], list[Problem]]:
    """Names of the categories of each photo's objects, and objects of unknown photos or categories."""
    labels: dict[str, list[str]] = defaultdict(list)
    unknown: dict[tuple[str, str], int] = defaultdict(int)
    for thing in annotations:
        photo = str(thing["image_id"])
        for part in thing.get("segments_info") or (thing,):
            category = str(part["category_id"])
            if category in categories and photo in files:
                labels[photo].append(categories[category])
            elif category not in categories:
                unknown["category", category] += 1
            else:
                unknown["photo", photo] += 1
    message = (
        "need objects of listed photos and categories in {}, {} belong to {} {}, which is not listed; export again"
    )
    return labels, [
        Problem("object unknown", name, message.format(path, f"{count} objects", what, name))
        for (what, name), count in unknown.items()
    ]


def _tool(path: Path, content: Mapping[str, Any]) -> str:
    """The tool that wrote a file, as far as the file tells."""
    info = content.get("info")
    said = " ".join(str(value) for value in info.values()) if isinstance(info, dict) else ""
    for tool in ("Roboflow", "Label Studio", "FiftyOne", "CVAT", "Supervisely", "Labelbox", "Datumaro", "LabelMe"):
        if tool.lower() in said.lower():
            return f" of {tool}"
    if path.name == "_annotations.coco.json":
        return " of Roboflow"
    if path.name.startswith("instances_") and path.parent.name == "annotations":
        return " as of CVAT"
    return " as of FiftyOne" if path.name == "labels.json" and (path.parent / "data").is_dir() else ""
