"""Photos and folders whose names are not UTF-8, as old archives and Windows leave them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.data.formats.labeled import read_labeled, write_labeled

from afa_wsss.data.files.label_cache import write_atomically
from afa_wsss.data.fingerprint import fingerprint
from afa_wsss.data.formats.folder import FolderDataset

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have names in Unicode alone")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_labeled(tmp_path, ("k\udce4tze/M\udcfcller.jpg", "k\udce4tze/1.jpg", "dog/2.jpg"), {})
    return tmp_path


def test_a_class_has_the_bytes_of_its_folder_as_text_and_a_warning(root: Path) -> None:
    labels, _, problems = read_labeled(root)
    assert sorted(labels.values()) == [["dog"], ["k\\udce4tze"], ["k\\udce4tze"]]
    (warning,) = [problem for problem in problems if problem.kind == "folder not in UTF-8"]
    assert warning.message.encode("utf-8").startswith(b"need names of folders in UTF-8, that of class k\\udce4tze")


def test_photos_have_a_fingerprint(root: Path) -> None:
    dataset = FolderDataset(root, "all")
    assert any("\udcfc" in name for name in dataset.names)
    assert len(fingerprint(dataset)) == 16


def test_names_read_back_from_json_as_they_are(tmp_path: Path) -> None:
    content = {"name": "M\udcfcller.jpg", "other": "über"}
    write_atomically(tmp_path / "problems.json", json.dumps(content, ensure_ascii=False))
    assert json.loads((tmp_path / "problems.json").read_text(encoding="utf-8")) == content
