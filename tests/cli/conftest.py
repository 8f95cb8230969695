"""Loads the commands before the tests do: see ``tests/commands.py`` on the warning."""

from __future__ import annotations

import tests.commands  # noqa: F401
