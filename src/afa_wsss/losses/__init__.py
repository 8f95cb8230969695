"""The terms of the loss: a function for the mathematics, and a term with its weight and first step for the table."""

from afa_wsss.losses.affinity import AffinityLoss
from afa_wsss.losses.classification import ClassificationLoss, LabelDistributionLoss
from afa_wsss.losses.dense_energy import DenseEnergyLoss
from afa_wsss.losses.segmentation import SegmentationLoss
from afa_wsss.losses.term import LossTerm

__all__ = [
    "AffinityLoss",
    "ClassificationLoss",
    "DenseEnergyLoss",
    "LabelDistributionLoss",
    "LossTerm",
    "SegmentationLoss",
]
