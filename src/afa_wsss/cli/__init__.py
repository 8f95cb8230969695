"""The commands: everything that knows Hydra."""
