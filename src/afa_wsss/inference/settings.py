"""Settings of inference."""

from __future__ import annotations

from dataclasses import dataclass

from afa_wsss.inference.multi_scale import CAM_SCALES, LOGIT_SCALES, check_scales


@dataclass(frozen=True)
class InferenceSettings:
    """Scales of the class activation maps; scales, mirror images and dense CRF of the segmentation branch.

    Attributes:
        cam_scales: Scales of the class activation maps; the largest gives the affinity.
        scales: Scales of the segmentation logits, whose maximum is taken.
        mirror: Whether each scale also runs on the mirror image.
        crf: Whether the dense CRF is applied: to the last validation of a run, in evaluation and in prediction.
    """

    cam_scales: tuple[float, ...] = CAM_SCALES
    scales: tuple[float, ...] = LOGIT_SCALES
    mirror: bool = False
    crf: bool = False

    def __post_init__(self) -> None:
        """Checks the scales once.

        Raises:
            UserError: For no scale or one that is not above 0.
        """
        for name in ("cam_scales", "scales"):
            object.__setattr__(self, name, check_scales(getattr(self, name), name))
