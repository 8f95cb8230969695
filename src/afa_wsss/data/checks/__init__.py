"""What can be wrong with a data set, and finding all of it."""
