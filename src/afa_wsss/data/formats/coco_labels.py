"""Image labels of COCO: the classes of each photo's objects, and all of them collected into one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afa_wsss.data.files.label_cache import LabelCache
from afa_wsss.data.formats.coco_instances import Instances, ObjectRule, instances_path


def label_columns(instances: Instances, rule: ObjectRule) -> dict[str, list[int]]:
    """Class indices of each photo with an object that counts, by file name, in the order of the photos' ids."""
    columns: dict[int, set[int]] = {}
    for thing in instances.annotations:
        if rule.counts(thing):
            columns.setdefault(thing.image_id, set()).add(instances.columns[thing.category_id])
    return {instances.files[photo]: sorted(columns[photo]) for photo in sorted(columns)}


def coco_cache(root: Path, split: str, rule: Mapping[str, Any]) -> LabelCache:
    """The file of a split's collected labels.

    Args:
        root: COCO's folder.
        split: Such as ``train2014``.
        rule: Values of ``ObjectRule``; None for any.
    """
    source = instances_path(root, split)
    return LabelCache(source.with_name(f"image_labels_{split}.json"), rule, newer_than=source)


def collect_coco_labels(root: Path, split: str, instances: Instances, rule: ObjectRule) -> list[str]:
    """Writes the split's labels into one file beside its instances, where ``COCODataset`` takes them from.

    Returns:
        Files of the photos with labels.
    """
    columns = label_columns(instances, rule)
    coco_cache(root, split, rule._asdict()).write(columns)
    return list(columns)
