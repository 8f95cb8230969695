"""Weights from files and from the hub, recognized by their names; no network is known here."""
