"""The terms of the loss: a pure function for each, and a ``LossTerm`` around it with a weight and a first step."""

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
