"""Photos and labels in sharded tar files, as the ``webdataset`` package writes them, read where they are."""
