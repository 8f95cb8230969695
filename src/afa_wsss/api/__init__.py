"""What the commands do, in plain Python: typed settings in, results out."""
