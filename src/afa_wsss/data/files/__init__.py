"""Photos, masks, lists and caches on disk, and work on many files at once."""
