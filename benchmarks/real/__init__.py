"""Studies of real photos: the figures of docs/real.md, with one command each."""
