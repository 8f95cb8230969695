"""The loader over shards: each photo once over processes and workers, the same for any number of workers, resumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.data.shards.shards import write_copies, write_shards
from torch.utils.data import DataLoader

from afa_wsss.data import CropSettings, ShardedDataset
from afa_wsss.data.loading.sets import TrainSet, collate
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.training import samplers
from afa_wsss.training.samplers import CropSampler

ENTRIES, SHARDS = 100_000, 100
MOST_MEMORY, MOST_GROWTH = 2**30, 2**27
"""Bytes of any process in all, and what the main process has more of after its imports."""

LARGE = """
import resource, sys
from unittest.mock import patch
from torch.utils.data import DataLoader, Dataset
from afa_wsss.data import ShardedDataset
from afa_wsss.training import samplers

class Names(Dataset):
    def __init__(self, photos): self.photos = photos
    def __getitem__(self, key): return self.photos.usable(key[1]).name

def peak():
    # getrusage() counts the process that started this one, too: its memory was this one's for a moment.
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

before = peak()
photos = ShardedDataset(sys.argv[1], "train")
photos.check_files()
names = []
for rank in (0, 1):
    with patch.multiple(samplers, rank=lambda: rank, world_size=lambda: 2):
        sampler = samplers.CropSampler(len(photos), batch_size=50, seed=0, streamed=photos)
    loader = DataLoader(Names(photos), batch_size=50, sampler=sampler, num_workers=2, collate_fn=list, drop_last=True)
    batches = list(loader)
    assert all(len(batch) == 50 for batch in batches)
    names.append([name for batch in batches for name in batch])
peaks = [peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]
print(len(photos), *map(len, names), len(set(names[0]) | set(names[1])), peaks[0] - before, *peaks)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory in /proc")
def test_a_hundred_thousand_entries_are_read_once_in_bounded_memory(tmp_path):
    root = write_copies(tmp_path, shards=SHARDS, samples=ENTRIES // SHARDS)
    assert sum(path.stat().st_size for path in root.iterdir()) < 2**30
    done = subprocess.run([sys.executable, "-c", LARGE, str(root)], capture_output=True, text=True, check=True)
    total, first, second, different, grown, *peaks = map(int, done.stdout.split())
    assert (total, first, second, different) == (ENTRIES, ENTRIES // 2, ENTRIES // 2, ENTRIES)
    assert grown < MOST_GROWTH
    assert max(peaks) < MOST_MEMORY, peaks


def loaded(root: Path, monkeypatch, *, workers=0, rank=(0, 1), start=(0, 0), epoch=0):
    """Names and first pixels of the crops of an epoch, batch by batch."""
    monkeypatch.setattr(samplers, "rank", lambda: rank[0])
    monkeypatch.setattr(samplers, "world_size", lambda: rank[1])
    photos = TrainSet(ShardedDataset(str(root), "train", mixed=2), TrainTransform(CropSettings(32)), seed=3)
    sampler = CropSampler(len(photos), batch_size=2, seed=3, start=start, streamed=photos.dataset)
    sampler.set_epoch(epoch)
    loader = DataLoader(photos, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=collate, drop_last=True)
    return [(batch.names, batch.images.sum(dim=(1, 2, 3)).tolist()) for batch in loader]


@pytest.fixture
def root(tmp_path):
    return write_shards(tmp_path, [3, 4, 1, 5, 3])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
def test_crops_are_the_same_for_any_number_of_workers(root, monkeypatch):
    alone = loaded(root, monkeypatch)
    assert len(alone) == 8
    assert alone == loaded(root, monkeypatch, workers=2)
    assert alone != loaded(root, monkeypatch, epoch=1)


def test_a_resumed_run_goes_on_at_its_photo(root, monkeypatch):
    for rank in ((0, 1), (1, 2)):
        whole = loaded(root, monkeypatch, rank=rank, start=(2, 0), epoch=2)
        assert loaded(root, monkeypatch, rank=rank, start=(2, 4), epoch=2) == whole[2:]
        assert loaded(root, monkeypatch, rank=rank, start=(1, 4), epoch=2) == whole


def test_processes_have_equally_many_whole_steps_and_no_photo_twice(tmp_path, monkeypatch):
    root = write_shards(tmp_path, [3, 4, 1, 6, 3])
    found = [loaded(root, monkeypatch, rank=(rank, 3)) for rank in range(3)]
    assert [len(batches) for batches in found] == [2, 2, 2]
    names = [name for batches in found for batch, _ in batches for name in batch]
    assert len(set(names)) == len(names) == 12


def test_fewer_photos_than_a_step_are_repeated(tmp_path, monkeypatch):
    found = [loaded(write_shards(tmp_path, [1]), monkeypatch, rank=(rank, 2)) for rank in range(2)]
    assert [len(batches) for batches in found] == [1, 1]
