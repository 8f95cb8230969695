"""Backbones: mix transformers and those of timm, each an ``Encoder``."""
