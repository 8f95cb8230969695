"""From class activation maps to targets: CAM, walk, PAR, labels (AFA, sections 3.2-3.4)."""

from afa_wsss.supervision.labels import labels_from_cam, labels_from_walk
from afa_wsss.supervision.scores import PARSettings, Walk
from afa_wsss.supervision.settings import Supervision
from afa_wsss.supervision.stages import LabelStages, label_stages

__all__ = ["LabelStages", "PARSettings", "Supervision", "Walk", "label_stages", "labels_from_cam", "labels_from_walk"]
