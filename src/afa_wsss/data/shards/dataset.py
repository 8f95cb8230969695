"""``ShardedDataset``: photos and labels that stay in their tar files until a loader asks for one."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from afa_wsss.data.base import Palette, Sample
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.lists import read_lines
from afa_wsss.data.files.mask_colors import parse_class_list
from afa_wsss.data.files.shared_range import SharedRange
from afa_wsss.data.files.value_range import RangeSetting
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.folder_labels.reading import plain
from afa_wsss.data.shards.files import beside, check_whole, count_samples, find_shards, read_sizes
from afa_wsss.data.shards.labels import all_tags, look, problems_of, spread
from afa_wsss.data.shards.order import epoch_order
from afa_wsss.data.shards.samples import read_photo, read_tags
from afa_wsss.data.shards.tar_index import CACHED, ShardIndex, read_index
from afa_wsss.errors import UserError

notes = logging.getLogger(__name__)

NEIGHBORS = 100
"""Samples in a row without a usable one at which a run ends."""

SLOW = 10
"""Seconds of counting from which a line says how to spare them."""


class ShardedDataset:
    """Photos and labels in sharded tar files: ``0001.jpg`` beside ``0001.cls``, ``0001.json`` or ``0001.txt``.

    Neither names nor labels of all photos are ever in memory: a process keeps where the samples of a few shards lie,
    and reads a photo and its labels together. The split ``val`` is a folder of photos and opens as a
    ``FolderDataset``.

    Attributes:
        class_names: Foreground classes: those of ``classes.txt`` beside the shards, or all that the labels name.
        names: Empty: a sample's name is that of its shard and its own.
        image_labels: None: each sample has its own.
        value_range: The values that become black and white in photos of more than 8 bits: (low, high), or ``auto`` for
            what each file declares; one that declares nothing is refused then.
        warnings: What is doubtful in the labels that ``check_files`` looked at.
    """

    names: tuple[str, ...] = ()
    image_labels = None
    value_range: RangeSetting = "auto"

    def __new__(cls, root: str, split: str, *, with_masks: bool = False, val: str | None = None, mixed: int = 8) -> Any:
        """The shards, or the folder of photos to validate with; arguments are those of ``__init__``."""
        del mixed
        if split != "val":
            return super().__new__(cls)
        folder = Path(val or beside(root) / "val")
        if not folder.is_dir():
            raise UserError(
                f"need a folder of photos to validate with, {folder} does not exist; make it as for data=folder, name "
                "another by data.dataset.val=FOLDER, or set data.val_split=null for none",
                kind="missing",
                arguments=("split",),
            )
        return FolderDataset(folder, "all", with_masks=with_masks)

    def __init__(
        self, root: str, split: str, *, with_masks: bool = False, val: str | None = None, mixed: int = 8
    ) -> None:
        """Finds the shards and counts the samples of those that ``sizes.json`` does not name.

        Args:
            root: A folder or a pattern of shards; see ``find_shards``.
            split: ``val`` for the folder of photos to validate with, any other name for shards.
            with_masks: For the folder; shards have no masks.
            val: That folder; None for ``val`` beside the shards.
            mixed: Shards whose photos are shuffled together, at most 16.

        Raises:
            UserError: For shards, sizes or classes that are missing or cannot be read.
        """
        del with_masks, val
        if not 1 <= mixed <= CACHED // 2:
            raise UserError(f"need mixed in [1, {CACHED // 2}], got {mixed}", arguments=("mixed",))
        self.mixed, self.shards, start = mixed, find_shards(root, split), time.monotonic()
        sizes = count_samples(self.shards, read_sizes(self.shards))
        self.root, self.sizes = root, np.array([sizes[shard] for shard in self.shards], dtype=np.int64)
        if not len(self):
            raise UserError(
                f"need photos to train on, the tar files of {root} hold none; fix root", arguments=("root",)
            )
        path = beside(root) / "classes.txt"
        listed = parse_class_list([plain(line) for line in read_lines(path)] if path.is_file() else [], path)
        self.class_names, self._by_number = listed.names or all_tags(self.shards, root), listed.by_number
        if (seconds := time.monotonic() - start) > SLOW:
            notes.info("read %d shards in %.0f s: write_sizes and classes.txt spare it", len(self.shards), seconds)
        self.warnings: list[Problem] = []
        self._noted: Counter[str] = Counter()

    def __getnewargs__(self) -> tuple[str, str]:
        """For loader workers: without a folder to validate with, a copy is one of the shards."""
        return self.root, "train"

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.sizes.sum())

    @cached_property
    def palette(self) -> Palette:
        """(k + 1, 3) RGB, VOC's colors."""
        return voc_palette(len(self.class_names) + 1)

    @cached_property
    def shared_range(self) -> SharedRange:
        """Gives the range of values of photos of more than 8 bits."""
        return SharedRange(self.value_range, list)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What was found, for people: what and value."""
        low, high = int(self.sizes.min()), int(self.sizes.max())
        return [("shards", f"{len(self.shards)} tar files of {low if low == high else f'{low} to {high}'} samples")]

    def check_files(self) -> None:
        """Checks the sizes of all shards, and of some the labels of a thousand samples and the first photos.

        Raises:
            UserError: For shards that are cut off, where no label names a class, and for photos of more than 8 bits
                without a range of values.
        """
        check_whole(self.shards)
        for path in spread(self.shards):
            self._check_range(path)
        self.warnings = problems_of(look(self.shards, self.class_names, self._by_number), self.root, self.class_names)

    def _check_range(self, path: str) -> None:
        """Raises where the first photo of a shard needs a range of values; other faults are said in training."""
        index = read_index(path)
        try:
            if len(index.keys):
                read_photo(path, index, 0, self.shared_range)
        except UserError as error:
            if error.kind == "no_range":
                raise

    def order(self, epoch: int, *, seed: int, places: range) -> Iterator[int]:
        """Samples of some places of an epoch, those of ``mixed`` shards after each other; see ``epoch_order``."""
        portions = epoch_order(self.sizes, epoch, seed=seed, places=places, mixed=self.mixed)
        return chain.from_iterable(portion.tolist() for portion in portions)

    def sample(self, index: int) -> Sample:
        """Reads one photo and its labels.

        Raises:
            UserError: For a sample without photo or labels, or with one that cannot be read, and as ``read_index``.
        """
        shard, place = self._locate(index)
        return self._read(self.shards[shard], self._index(shard), place)

    def usable(self, index: int) -> Sample:
        """The sample, or the next one of its shard that can be read; what is left out is counted and logged.

        Raises:
            UserError: Where a hundred in a row cannot be read, and as ``read_index``.
        """
        shard, place = self._locate(index)
        found, path = self._index(shard), self.shards[shard]
        last: UserError | None = None
        tried = min(len(found.keys), NEIGHBORS)
        for step in range(tried):
            try:
                return self._read(path, found, (place + step) % len(found.keys))
            except UserError as error:
                last = error
                self._note("left out", f"{error}; the next one takes its place")
        raise UserError(f"need samples that can be read, {tried} in a row cannot; the last: {last}")

    def _read(self, path: str, index: ShardIndex, place: int) -> Sample:
        try:
            tags = read_tags(path, index, place, self._by_number)
        except UserError as error:
            raise UserError(f"need labels of every photo, {index.keys[place]} in {path} has {error}") from error
        unknown = sorted(set(tags).difference(self.class_names))
        if unknown:
            self._note("tag", f"tag {unknown[0]!r} of {index.keys[place]} in {path} is not in classes.txt and left out")
        labels = np.array([name in tags for name in self.class_names], dtype=np.float32)
        photo = read_photo(path, index, place, self.shared_range)
        return Sample(photo, labels, None, f"{Path(path).stem}/{index.keys[place]}")

    def _note(self, kind: str, message: str) -> None:
        """Logs the first, tenth, hundredth, ... of a kind in this process."""
        self._noted[kind] += 1
        if set(str(self._noted[kind])[1:]) <= {"0"} and str(self._noted[kind])[0] == "1":
            notes.warning("%s (%d of this kind in this loader process so far)", message, self._noted[kind])

    @cached_property
    def _ends(self) -> Int64[np.ndarray, " s"]:
        return np.cumsum(self.sizes)

    def _locate(self, index: int) -> tuple[int, int]:
        """Shard of a sample, and its place in it."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, int(index - (self._ends[shard] - self.sizes[shard]))

    def _index(self, shard: int) -> ShardIndex:
        found, path = read_index(self.shards[shard]), self.shards[shard]
        if len(found.keys) != self.sizes[shard]:
            raise UserError(
                f"need {self.sizes[shard]} samples in {path}, as sizes.json says, got {len(found.keys)}; write it anew "
                "or delete it"
            )
        return found
