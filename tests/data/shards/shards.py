"""Sharded tar files for the tests."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from afa_wsss.data import VOCDataset
from afa_wsss.data.files.masks import write_mask

Entries = Mapping[str, bytes]
"""Files of one sample by suffix."""


def encoded(red: int = 9, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(stream, kind)
    return stream.getvalue()


PHOTO = encoded()


def write_shard(path: Path, samples: Mapping[str, Entries] | Sequence[Entries], **options) -> Path:
    """A tar of samples; without keys they are 000, 001, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keyed = samples if isinstance(samples, Mapping) else {f"{n:03}": one for n, one in enumerate(samples)}
    with tarfile.open(path, "w", **options) as tar:
        for key, entries in keyed.items():
            for suffix, content in entries.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def write_shards(root: Path, counts: Sequence[int], tags: str = "cat;dog") -> Path:
    """``train-000000.tar``, ... with so many photos each."""
    for shard, count in enumerate(counts):
        write_shard(root / f"train-{shard:06}.tar", [{"png": PHOTO, "txt": tags.encode()}] * count)
    return root


def write_copies(root: Path, *, shards: int, samples: int) -> Path:
    """The same shard many times, quickly; names differ by shard."""
    first = write_shard(root / "train-000000.tar", [{"png": PHOTO, "json": b'{"labels": ["cat"]}'}] * samples)
    for shard in range(1, shards):
        shutil.copyfile(first, root / f"train-{shard:06}.tar")
    return root


def write_partshapes_shards(root: Path, partshapes: Path, *, shards: int = 2) -> Path:
    """PartShapes as shards to train on and a folder to validate with."""
    train, val = VOCDataset(partshapes, "train"), VOCDataset(partshapes, "val", with_masks=True)
    names = train.class_names
    samples = [
        {"jpg": Path(train.photo_path(index)).read_bytes(), "txt": "\n".join(_tags(train, index)).encode()}
        for index in range(len(train))
    ]
    for shard in range(shards):
        write_shard(root / f"train-{shard:06}.tar", samples[shard::shards])
    rows = ["file,labels"]
    for index, name in enumerate(val.names):
        (root / "val" / "masks").mkdir(parents=True, exist_ok=True)
        path = Path(val.photo_path(index))
        shutil.copyfile(path, root / "val" / path.name)
        write_mask(root / "val" / "masks" / f"{name}.png", val.sample(index).mask, val.palette)
        rows.append(f"{path.name},{';'.join(_tags(val, index))}")
    (root / "val" / "labels.csv").write_text("\n".join(rows))
    for folder in (root, root / "val"):
        (folder / "classes.txt").write_text("\n".join(names))
    return root


def _tags(photos: VOCDataset, index: int) -> list[str]:
    return [name for name, has in zip(photos.class_names, photos.image_labels[index], strict=True) if has]
