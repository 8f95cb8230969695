"""When to draw, to count and to write; what is drawn and written comes from below."""

from afa_wsss.training.callbacks.backbone import BackboneWriter
from afa_wsss.training.callbacks.checkpoints import Checkpoints
from afa_wsss.training.callbacks.class_table import ClassTable
from afa_wsss.training.callbacks.compilation import Compilation
from afa_wsss.training.callbacks.dealt_steps import DealtSteps
from afa_wsss.training.callbacks.given_rates import GivenRates
from afa_wsss.training.callbacks.held_out_looks import HeldOutLooks
from afa_wsss.training.callbacks.label_curves import LabelCurves
from afa_wsss.training.callbacks.masks import MaskWriter
from afa_wsss.training.callbacks.montages import Montages
from afa_wsss.training.callbacks.nonfinite import NonFinite
from afa_wsss.training.callbacks.origin import Origin
from afa_wsss.training.callbacks.plain_config import PlainConfig
from afa_wsss.training.callbacks.progress import ProgressBar
from afa_wsss.training.callbacks.recomputation import Recomputation
from afa_wsss.training.callbacks.signals import Signals
from afa_wsss.training.callbacks.throughput import Throughput
from afa_wsss.training.callbacks.uneven_validation import UnevenValidation
from afa_wsss.training.callbacks.validation_checks import ValidationChecks
from afa_wsss.training.callbacks.wandb_files import WandbFiles
from afa_wsss.training.callbacks.wandb_photos import WandbPhotos
from afa_wsss.training.callbacks.wandb_summary import WandbSummary
from afa_wsss.training.callbacks.warnings import Warnings
from afa_wsss.training.callbacks.weight_averaging import WeightAveraging

__all__ = [
    "BackboneWriter",
    "Checkpoints",
    "ClassTable",
    "Compilation",
    "DealtSteps",
    "GivenRates",
    "HeldOutLooks",
    "LabelCurves",
    "MaskWriter",
    "Montages",
    "NonFinite",
    "Origin",
    "PlainConfig",
    "ProgressBar",
    "Recomputation",
    "Signals",
    "Throughput",
    "UnevenValidation",
    "ValidationChecks",
    "WandbFiles",
    "WandbPhotos",
    "WandbSummary",
    "Warnings",
    "WeightAveraging",
]
