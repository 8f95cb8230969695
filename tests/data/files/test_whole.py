from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from afa_wsss.data.files import masks as masks_file
from afa_wsss.data.files.whole import copy_whole, whole_file


def begin(path, error):
    with whole_file(path) as part:
        part.write_text("ne")
        raise error


def test_a_file_takes_its_name_at_the_end(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with whole_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        begin(path, RuntimeError("killed"))
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_with_the_path(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=r"No space left on device: '.*a.txt'"):
        begin(path, OSError(28, "No space left on device"))
    assert not path.exists()


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match=r"'.*/a'"), whole_file(tmp_path / "a" / "b.txt"):
        pass


def test_a_copy(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    copy_whole(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_bytes() == b"content"


def test_a_mask_that_fails_to_be_written_leaves_no_file(tmp_path, monkeypatch):
    def half(image, part, **_):
        Path(part).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(masks_file.Image.Image, "save", half)
    with pytest.raises(OSError, match="disk full"):
        masks_file.write_mask(tmp_path / "mask.png", np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    assert not list(tmp_path.glob("*mask*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from afa_wsss.data.files.whole import whole_file
with whole_file(Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_leaves_no_file_of_that_name(tmp_path):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "a.png")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".a.png.part"]
