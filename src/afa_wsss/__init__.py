"""AFA: weakly-supervised semantic segmentation with transformers, from image labels alone."""

__version__ = "0.1.0"
