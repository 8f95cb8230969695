"""A network over several scales and mirror images, and the refinement of its output."""

from afa_wsss.inference.gate import ClassGate
from afa_wsss.inference.multi_scale import CAM_SCALES, multi_scale_cam, multi_scale_logits, multi_scale_maps
from afa_wsss.inference.refinement import refined_labels, refined_scores
from afa_wsss.inference.settings import InferenceSettings
from afa_wsss.inference.views import Views

__all__ = [
    "CAM_SCALES",
    "ClassGate",
    "InferenceSettings",
    "Views",
    "multi_scale_cam",
    "multi_scale_logits",
    "multi_scale_maps",
    "refined_labels",
    "refined_scores",
]
