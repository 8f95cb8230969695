"""What the tests of label makers share: a small batch and a small network."""

from __future__ import annotations

import pytest
from tests.photos import two_photos

from afa_wsss.models import AFA, create_model
from afa_wsss.types import Batch


@pytest.fixture
def batch() -> Batch:
    """See ``two_photos``."""
    return two_photos(64)


@pytest.fixture(scope="module")
def network() -> AFA:
    """In evaluation mode, with random weights."""
    return create_model("mit_nano", 3, decoder_width=8, drop_path_rate=0.0).eval()
