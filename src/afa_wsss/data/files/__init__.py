"""Photos, masks, lists and caches on disk."""
