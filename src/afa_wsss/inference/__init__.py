"""Running a network over scales and mirror images, and the dense CRF on what it found."""

from afa_wsss.inference.crf import crf_labels
from afa_wsss.inference.multi_scale import multi_scale_cam, multi_scale_logits

__all__ = ["crf_labels", "multi_scale_cam", "multi_scale_logits"]
