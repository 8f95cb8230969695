"""The hub without a network: the cache folder in the layout of its library, and the errors that the library raises."""

from __future__ import annotations

import sys

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tests.hugging_face import hugging_face, save_published
from transformers import SegformerForImageClassification

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.backbone_weights import load_backbone
from afa_wsss.models.encoders.mix_transformer import mix_transformer
from afa_wsss.models.weights import hub

REPOSITORY, COMMIT = "nvidia/mit-b0", "0123456789abcdef0123456789abcdef01234567"

CLIENT = sys.modules[errors.HfHubHTTPError.__mro__[1].__module__.partition(".")[0]]
"""The HTTP client of the hub's library."""


def fill(hub_cache, *, branch="main"):
    """The folder of one snapshot of the repository, without files."""
    folder = hub_cache / f"models--{REPOSITORY.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / branch).write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    return snapshot


def refused(name):
    """The error with which a download has to be refused, a message of one line."""
    with pytest.raises(UserError) as caught:
        hub.download(name)
    assert "\n" not in str(caught.value)
    return caught.value


def message(name):
    return str(refused(name))


def test_a_file_of_another_name_is_asked_for_after_the_repository(hub_cache):
    weights = fill(hub_cache) / "original.bin"
    torch.save(mix_transformer("mit_b0").state_dict(), weights)
    assert hub.download(f"{REPOSITORY}/original.bin") == weights
    assert "/other.bin " in message(f"{REPOSITORY}/other.bin")


@pytest.mark.parametrize("branch", ["main", "first"])
@pytest.mark.parametrize("file", hub.WEIGHT_FILES)
def test_weights_come_from_the_cache_without_a_network(hub_cache, file, branch) -> None:
    other, own = hugging_face(SegformerForImageClassification, "mit_b0"), mix_transformer("mit_b0")
    snapshot = fill(hub_cache, branch=branch)
    published = load_file(save_published(other, snapshot, "safetensors"))
    if file == "pytorch_model.bin":
        torch.save(published, snapshot / file)
        (snapshot / "model.safetensors").unlink()
    load_backbone(own, f"hf-hub:{REPOSITORY}" + ("" if branch == "main" else f"@{branch}"))
    assert torch.equal(own.stages[3].norm.weight, published["segformer.encoder.layer_norm.3.weight"])


def test_safetensors_are_preferred(hub_cache) -> None:
    snapshot = fill(hub_cache)
    for file in hub.WEIGHT_FILES:
        (snapshot / file).write_bytes(b"")
    assert hub.download(REPOSITORY) == snapshot / "model.safetensors"


def test_an_empty_cache_without_a_network_names_the_file_and_where_to_put_it(hub_cache) -> None:
    with pytest.raises(UserError) as caught:
        create_model("mit_b1", pretrained="hf-hub:nvidia/mit-b1")
    line = str(caught.value)
    assert line.startswith("need weights of hf-hub:nvidia/mit-b1, HF_HUB_OFFLINE is set and the cache ")
    assert str(hub_cache) in line
    for file in hub.WEIGHT_FILES:
        assert f"/nvidia/mit-b1/resolve/main/{file} " in line
    assert "give the path of that file, or None (null) to start from random weights" in line


def test_another_revision_is_not_taken_from_the_cache(hub_cache) -> None:
    save_file({"a": torch.zeros(1)}, fill(hub_cache) / "model.safetensors")
    assert "/nvidia/mit-b0/resolve/v2/model.safetensors " in message(f"{REPOSITORY}@v2")


@pytest.mark.parametrize("name", ["--", "", "white space/b"])
def test_invalid_names_are_refused(hub_cache, name) -> None:
    assert "need hf-hub:OWNER/REPOSITORY, as hf-hub:nvidia/mit-b1; got hf-hub:" in message(name)


def response(error, status):
    """An error of the hub's library, with the response that caused it."""
    request = CLIENT.Request("GET", "https://hub.invalid/nvidia/mit-b0")
    return error("said by the hub\nin two lines", response=CLIENT.Response(status, request=request))


RESPONSES = {
    "no repository": (response(errors.RepositoryNotFoundError, 404), "found none named nvidia/mit-b0; fix the name"),
    "gated": (
        response(errors.GatedRepoError, 403),
        "access denied; accept the terms on its page of the hub, then run: hf auth login",
    ),
    "no revision": (response(errors.RevisionNotFoundError, 404), "the hub has no v2; leave out @... for main"),
    "server": (response(errors.HfHubHTTPError, 503), "the hub gave no file (HfHubHTTPError: said by the hub) and the"),
    "no file": (
        response(errors.RemoteEntryNotFoundError, 404),
        "need model.safetensors or pytorch_model.bin in nvidia",
    ),
    "refused": (CLIENT.ConnectError("refused"), "the hub gave no file (ConnectError: refused) and the cache"),
    "timeout": (CLIENT.ReadTimeout("too slow"), "the hub gave no file (ReadTimeout: too slow) and the cache"),
    "connection": (ConnectionError("reset"), "the hub gave no file (ConnectionError: reset) and the cache"),
    "disk": (OSError(28, "No space left"), "the hub gave no file (OSError: [Errno 28] No space left) and the"),
}


@pytest.mark.parametrize(("error", "text"), RESPONSES.values(), ids=RESPONSES.keys())
def test_errors_of_the_hub_become_messages_of_one_line(monkeypatch, error, text) -> None:
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    assert text in message(f"{REPOSITORY}@v2")


def test_an_unreachable_hub_is_asked_once(monkeypatch) -> None:
    asked = []

    def unreachable(repository, file, *, revision, local_files_only):
        asked.append((file, local_files_only))
        raise errors.LocalEntryNotFoundError("no connection") from CLIENT.ConnectError("name not known")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    assert "(ConnectError: name not known)" in message(REPOSITORY)
    assert asked == [("model.safetensors", False), ("pytorch_model.bin", True)]


def test_a_pickle_is_taken_where_there_is_nothing_else(monkeypatch) -> None:
    def only_pickle(repository, file, *, revision, local_files_only):
        if file == "model.safetensors":
            raise response(errors.RemoteEntryNotFoundError, 404)
        return f"/cache/{repository}/{file}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", only_pickle)
    assert str(hub.download(REPOSITORY)) == "/cache/nvidia/mit-b0/pytorch_model.bin"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [(errors.GatedRepoError, 403, "access_denied"), (errors.RepositoryNotFoundError, 404, "missing")],
)
def test_errors_have_a_kind(monkeypatch, error, status, kind) -> None:
    def refuse(*_, **__):
        raise response(error, status)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    assert refused(REPOSITORY).kind == kind
