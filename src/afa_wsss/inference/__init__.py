"""Running a network over scales and mirror images."""

from afa_wsss.inference.multi_scale import multi_scale_cam, multi_scale_logits

__all__ = ["multi_scale_cam", "multi_scale_logits"]
