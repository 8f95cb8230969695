"""Vision transformers of timm that the tests build."""

DEIT = "deit_tiny_patch16_224"
KINDS = {
    "vit": "vit_tiny_patch16_224",
    "deit": DEIT,
    "two prefix tokens": "deit_tiny_distilled_patch16_224",
    "layer scale": "vit_small_patch14_dinov2",
    "registers": "vit_small_patch14_reg4_dinov2",
    "rotary": "vit_small_patch16_dinov3",
    "rotary and absolute": "eva02_tiny_patch14_224",
    "norm of queries": "vit_little_patch16_reg4_gap_256",
    "learned rotations of each head": "vit_small_patch16_rope_mixed_224",
    "norms of timm's own": "test_vit4",
}
"""One model for each way in which timm's transformers differ."""
