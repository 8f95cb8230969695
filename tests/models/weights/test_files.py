"""Files of weights: no code is run, what is broken or does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.weights.files import load_strictly, read_weights


def test_another_class_count_is_refused() -> None:
    weights, model = create_model("mit_nano", 4).state_dict(), create_model("mit_nano", 3)
    with pytest.raises(UserError, match=r"classifier.weight \(4, 128, 1, 1\) for \(3, 128, 1, 1\)"):
        load_strictly(model, weights, source="weights.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_run_code_are_refused(tmp_path, zipped) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": Path("x")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"convert it: import torch; w = torch\.load\(.*torch\.save\("):
        read_weights(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_broken_files_are_refused(tmp_path, name, content) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read; is the download complete"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"model": 3}, {"epoch": 3}])
def test_files_without_named_tensors_are_refused(tmp_path, content) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="need named tensors"):
        read_weights(tmp_path / "weights.pth")


def test_a_missing_file_is_an_error_of_its_own_kind(tmp_path) -> None:
    with pytest.raises(UserError, match="found none at") as caught:
        read_weights(tmp_path / "weights.pth")
    assert caught.value.kind == "missing"
