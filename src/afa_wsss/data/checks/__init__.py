"""What can be wrong with a data set, and checks that find all of it."""
