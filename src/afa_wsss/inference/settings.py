"""Settings of inference."""

from __future__ import annotations

from dataclasses import dataclass, field

from afa_wsss.errors import UserError
from afa_wsss.inference.gate import Gate, check_gate
from afa_wsss.inference.multi_scale import CAM_SCALES, LOGIT_SCALES, check_scales
from afa_wsss.ops.par import PARSettings

NO_REFINEMENT = "none"
REFINEMENTS = (NO_REFINEMENT, "par", "crf")
"""What may follow the segmentation branch; the stage after it has the name."""


def check_refinement(name: str) -> str:
    """``name`` itself.

    Raises:
        UserError: For none of ``REFINEMENTS``.
    """
    if name not in REFINEMENTS:
        raise UserError(f"need a refinement of {', '.join(REFINEMENTS)}; got {name}", arguments=("refinement",))
    return name


@dataclass(frozen=True)
class InferenceSettings:
    """Scales of the class activation maps; scales, mirror images, refinement and gate of the segmentation branch.

    Attributes:
        cam_scales: Scales of the class activation maps; the largest gives the affinity.
        scales: Scales of the segmentation logits, whose maximum is taken.
        mirror: Whether each scale also runs on the mirror image.
        refinement: What fits the probabilities to the photo: ``none``, ``par`` or ``crf``, the dense CRF. It is applied
            in prediction, evaluation and validation; in training the last validation alone has the dense CRF, which
            takes time.
        par: Settings of PAR.
        gate: Probability of the class branch under which a class counts as absent from a photo, and is left out of the
            labels of the segmentation branch; ``auto`` for that of each class with the best F1 in the last validation,
            None or ``none`` for no gate.
    """

    cam_scales: tuple[float, ...] = CAM_SCALES
    scales: tuple[float, ...] = LOGIT_SCALES
    mirror: bool = False
    refinement: str = NO_REFINEMENT
    par: PARSettings = field(default_factory=PARSettings)
    gate: Gate = None

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For no scale or one that is not above 0, an unknown refinement, and a gate out of range.
        """
        for name in ("cam_scales", "scales"):
            object.__setattr__(self, name, check_scales(getattr(self, name), name))
        check_refinement(self.refinement)
        object.__setattr__(self, "gate", check_gate(self.gate))

    @property
    def refines(self) -> bool:
        """Whether anything follows the segmentation branch."""
        return self.refinement != NO_REFINEMENT
