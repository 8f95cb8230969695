"""Types of every setting: a key that is not here, or a value of another type, is refused when Hydra composes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class ModelConfig:
    """See ``afa_wsss.models.create_model``."""

    backbone: str = MISSING
    pretrained: str | None = "default"
    pooling: str = "max"
    sharpness: float = 1.0
    decoder_width: int = 256
    dropout: float = 0.1
    drop_path_rate: float = 0.1
    strides: list[int] | None = None
    cam_in_training_mode: bool = False


@dataclass
class DataConfig:
    """Which photos, and how they are cropped and batched."""

    name: str = MISSING
    dataset: dict[str, Any] = MISSING
    root: str = MISSING
    train_split: str | None = MISSING
    val_split: str | None = MISSING
    crop_size: int = 512
    scale: list[float] = field(default_factory=lambda: [0.5, 2.0])
    mirror: float = 0.5
    jitter: float = 0.0
    batch_size: int = 8
    eval_batch_size: int = 1
    num_workers: int = 4


@dataclass
class PARConfig:
    """See ``afa_wsss.supervision.PARSettings``."""

    dilations: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 12, 24])
    steps: int = 10
    w1: float = 0.3
    w2: float = 0.3
    w3: float = 0.01


@dataclass
class SupervisionConfig:
    """See ``afa_wsss.supervision.Supervision``."""

    low: float = 0.35
    high: float = 0.55
    background: float = 0.45
    walk_low: float | None = None
    walk_high: float | None = None
    walk_background: float | None = None
    radius: int = 8
    alpha: float = 2.0
    walk_steps: int = 1
    first_step: int = 2001
    walk_first_step: int | None = 6001
    affinity_from_walk: bool = False
    par: PARConfig | None = field(default_factory=PARConfig)
    truncate_photos: bool = False


@dataclass
class LossConfig:
    """A term of the loss: what it is, its weight, and the step from which it counts."""

    _target_: str = MISSING
    weight: float = 1.0
    first_step: int = 0


@dataclass
class OptimizerConfig:
    """See ``afa_wsss.training.optim.afa_optimizer``."""

    lr: float = 6e-5
    head_lr_factor: float = 10.0
    norm_lr_factor: float = 0.0
    logits_lr_factor: float = 1.0
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])


@dataclass
class SchedulerConfig:
    """See ``afa_wsss.training.optim.warmup_poly``."""

    max_steps: int = MISSING
    warmup_steps: int = 1500
    warmup_lr: float = 1e-6
    power: float = 1.0


@dataclass
class TrainerConfig:
    """Arguments of ``lightning.Trainer``; ``compile`` for ``torch.compile``; steps between writes of ``last.ckpt``."""

    max_steps: int = 20000
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    sync_batchnorm: bool = True
    val_check_interval: int = 2000
    checkpoint_interval: int = 500
    log_every_n_steps: int = 50
    limit_val_batches: Any = 1.0
    num_sanity_val_steps: int = 0
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    deterministic: bool = False
    benchmark: bool = False
    compile: bool = False


@dataclass
class InferenceConfig:
    """Scales of the class activation maps; scales, mirror and dense CRF of the segmentation branch."""

    cam_scales: list[float] = field(default_factory=lambda: [1.0, 0.5, 1.5])
    scales: list[float] = field(default_factory=lambda: [1.0])
    mirror: bool = False
    crf: bool = False


@dataclass
class TrainConfig:
    """Everything that a training run is made of; ``resume`` is the checkpoint of one to go on with."""

    name: str = "${data.name}_${model.backbone}"
    seed: int = 0
    resume: str | None = None
    output_dir: str = "outputs/${name}/${now:%Y-%m-%d_%H-%M-%S}"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    supervision: SupervisionConfig = field(default_factory=SupervisionConfig)
    loss: dict[str, LossConfig] = field(default_factory=dict)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)


@dataclass
class EvalDataConfig:
    """What to read instead of the data that the checkpoint was trained with; null for the same."""

    root: str | None = None
    val_split: str | None = None
    eval_batch_size: int | None = None
    num_workers: int | None = None


@dataclass
class EvalInferenceConfig:
    """Scales, mirror and CRF instead of the checkpoint's; null for the same."""

    cam_scales: list[float] | None = None
    scales: list[float] | None = None
    mirror: bool | None = None
    crf: bool | None = None


@dataclass
class DeviceConfig:
    """Where to run."""

    accelerator: str = "auto"
    devices: Any = 1
    precision: str = "32-true"


@dataclass
class EvaluateConfig:
    """Everything that an evaluation needs beside the checkpoint."""

    checkpoint: str = MISSING
    output_dir: str = "outputs/eval/${now:%Y-%m-%d_%H-%M-%S}"
    data: EvalDataConfig = field(default_factory=EvalDataConfig)
    inference: EvalInferenceConfig = field(default_factory=EvalInferenceConfig)
    trainer: DeviceConfig = field(default_factory=DeviceConfig)
    write_masks: bool = True
    pictures: int = 12


@dataclass
class PredictConfig:
    """Photos to label with a checkpoint."""

    checkpoint: str = MISSING
    input: str = MISSING
    output_dir: str = "outputs/predict/${now:%Y-%m-%d_%H-%M-%S}"
    inference: EvalInferenceConfig = field(default_factory=EvalInferenceConfig)
    device: str = "auto"


@dataclass
class PseudoLabelConfig:
    """Photos with image labels to make pseudo labels of; ``score`` compares these with the photos' masks."""

    checkpoint: str = MISSING
    output_dir: str = "outputs/pseudo_labels/${now:%Y-%m-%d_%H-%M-%S}"
    data: EvalDataConfig = field(default_factory=EvalDataConfig)
    inference: EvalInferenceConfig = field(default_factory=EvalInferenceConfig)
    trainer: DeviceConfig = field(default_factory=DeviceConfig)
    score: bool = False
    pictures: int = 12


@dataclass
class PartShapesConfig:
    """See ``afa_wsss.data.partshapes.write.write_partshapes``; ``classes`` is one of its ``CLASS_SETS``."""

    root: str = "datasets/partshapes"
    train: int = 1000
    val: int = 200
    size: int = 112
    seed: int = 0
    classes: str = "demo"
    overwrite: bool = False


@dataclass
class VOCConfig:
    """See ``afa_wsss.data.formats.prepare``."""

    root: str = MISSING
    difficult: bool = True
    output_dir: str = "outputs/data_voc/${now:%Y-%m-%d_%H-%M-%S}"


@dataclass
class COCOConfig:
    """See ``afa_wsss.data.formats.prepare``; ``splits`` null for those whose photos are there."""

    root: str = MISSING
    splits: list[str] | None = None
    crowd: bool = True
    min_area: float = 0.0
    masks: bool = True


@dataclass
class FolderConfig:
    """See ``afa_wsss.data.formats.folder``."""

    root: str = MISSING
    output_dir: str = "outputs/data_folder/${now:%Y-%m-%d_%H-%M-%S}"


@dataclass
class CheckConfig:
    """The data set to look through, as ``afa-train`` takes it."""

    data: DataConfig = field(default_factory=DataConfig)
    output_dir: str = "outputs/data_check/${now:%Y-%m-%d_%H-%M-%S}"


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "pseudo_label": PseudoLabelConfig,
    "data_partshapes": PartShapesConfig,
    "data_voc": VOCConfig,
    "data_coco": COCOConfig,
    "data_folder": FolderConfig,
    "data_check": CheckConfig,
}
"""By the name of the command's YAML file."""


def register() -> None:
    """Puts the schemas where the YAML files look for them."""
    store = ConfigStore.instance()
    for name, node in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=node)
