"""From image labels to targets: label makers and refinements (AFA, sections 3.2-3.4)."""

from afa_wsss.supervision.afa import AFALabels
from afa_wsss.supervision.crf import DenseCRF
from afa_wsss.supervision.label_maker import LabelMaker, Network
from afa_wsss.supervision.labels import labels_from_cam, labels_from_walk
from afa_wsss.supervision.oracle import OracleLabels
from afa_wsss.supervision.par import PAR
from afa_wsss.supervision.refinement import NoRefinement, Refinement, Refiner
from afa_wsss.supervision.scores import Walk

__all__ = [
    "PAR",
    "AFALabels",
    "DenseCRF",
    "LabelMaker",
    "Network",
    "NoRefinement",
    "OracleLabels",
    "Refinement",
    "Refiner",
    "Walk",
    "labels_from_cam",
    "labels_from_walk",
]
