"""Photos to predict, and a model that knows where things are."""

from __future__ import annotations

import pytest
from PIL import Image
from tests.api.predict.halves import Halves

from afa_wsss.api import predict as predict_file
from afa_wsss.api.settings import PredictSettings


@pytest.fixture
def segmenter(monkeypatch):
    found = Halves()
    monkeypatch.setattr(predict_file, "load", lambda checkpoint, device: found)
    return found


@pytest.fixture
def settings(tmp_path):
    photos = tmp_path / "photos"
    (photos / "inner").mkdir(parents=True)
    for name, red in (("a.jpg", 128), ("b.png", 255), ("inner/c.png", 255)):
        Image.new("RGB", (64, 32), (red, 128, 128)).save(photos / name)
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    return PredictSettings(str(tmp_path / "best.ckpt"), str(photos), str(tmp_path / "out"))
