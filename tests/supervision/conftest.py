"""What the tests of label makers share: a small batch."""

from __future__ import annotations

import pytest
from tests.photos import two_photos

from afa_wsss.types import Batch


@pytest.fixture
def batch() -> Batch:
    """See ``two_photos``."""
    return two_photos(64)
