"""From a composed configuration to objects; below this, everything takes plain arguments."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException

from afa_wsss.cli.settings import Plain as Plain
from afa_wsss.cli.settings import plain as plain
from afa_wsss.data.files.parallel import available_cores
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm
from afa_wsss.models import AFA, create_model
from afa_wsss.models.weights.files import is_reference_checkpoint, load_network
from afa_wsss.supervision import PARSettings, Supervision
from afa_wsss.training.callbacks.plain_config import CONFIG_KEY
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import afa_optimizer, warmup_poly
from afa_wsss.training.sync_batchnorm import AnyDeviceSyncBatchNorm

OWN_SETTINGS = ("compile", "sync_batchnorm", "checkpoint_interval")
"""Of the group ``trainer``; all others are Lightning's."""


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy, torch and the loaders' workers.

    Raises:
        UserError: For a seed that is not in [0, 2^32).
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"need seed of at least 0 and below 2^32, got {seed}")
    lightning.seed_everything(seed, workers=True, verbose=False)


def make_supervision(settings: Plain) -> Supervision:
    """Thresholds, walk and refinement."""
    par = settings["par"]
    refinement = None if par is None else PARSettings(**par | {"dilations": tuple(par["dilations"])})
    return Supervision(**settings | {"par": refinement})


def make_losses(settings: Plain) -> dict[str, LossTerm]:
    """The table of loss terms.

    Raises:
        UserError: For an empty table.
    """
    if not settings:
        raise UserError("need at least one term in loss, got none; choose loss=afa")
    return {name: instantiate(term, _convert_="all") for name, term in settings.items()}


def make_parts(settings: Plain) -> list[Any]:
    """The callbacks or loggers of a table; ``callbacks.progress=null`` leaves one out."""
    return [instantiate(item, _convert_="all") for item in settings.values() if item is not None]


def make_data(
    settings: Plain, *, seed: int, train: bool = True, with_masks: bool = True, pin_memory: bool = False
) -> AFADataModule:
    """Opens and checks the splits; without ``train`` the validation split alone, ``with_masks`` or not."""
    dataset = instantiate({**settings["dataset"], "_partial_": True}, root=settings["root"])
    crop = {key: settings[key] for key in ("crop_size", "scale", "mirror", "jitter")}
    sizes = {key: settings[key] for key in ("batch_size", "eval_batch_size", "num_workers", "val_split")}
    sizes["num_workers"] = min(sizes["num_workers"], available_cores())
    train_split = settings["train_split"] if train else None
    transform = TrainTransform(**crop) if train else None
    return AFADataModule(
        dataset,
        train_split=train_split,
        transform=transform,
        seed=seed,
        with_masks=with_masks,
        pin_memory=pin_memory,
        **sizes,
    )


def make_module(settings: Plain, network: AFA, data: AFADataModule) -> AFAModule:
    """The LightningModule around a network."""
    inference = settings["inference"]
    return AFAModule(
        network,
        make_supervision(settings["supervision"]),
        make_losses(settings["loss"]),
        partial(afa_optimizer, **settings["optimizer"]),
        partial(warmup_poly, **settings["scheduler"]),
        class_names=data.class_names,
        palette=data.dataset.palette,
        cam_scales=inference["cam_scales"],
        eval_scales=inference["scales"],
        eval_mirror=inference["mirror"],
    )


def make_trainer(settings: Plain, **arguments: Any) -> lightning.Trainer:
    """A Trainer with our own samplers and batch norm; it validates and logs at least once in ``max_steps``.

    Raises:
        UserError: Where a GPU is asked for and there is none, and for what Lightning refuses.
    """
    values = {key: value for key, value in settings.items() if key not in OWN_SETTINGS}
    if values["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"need a GPU for trainer.accelerator={values['accelerator']}, torch {torch.__version__} sees none; "
            "use trainer.accelerator=cpu or install a torch that fits your driver"
        )
    if "max_steps" in values:
        values |= _intervals(values)
    plugins: list[Any] = [AnyDeviceSyncBatchNorm()] if settings.get("sync_batchnorm") else []
    try:
        return lightning.Trainer(**values, plugins=plugins, use_distributed_sampler=False, **arguments)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"need settings of trainer that Lightning takes, got: {error}") from error


def _intervals(settings: Plain) -> Plain:
    """Validation and logging at least once a run; Lightning counts the former in batches."""
    names = ("max_steps", "val_check_interval", "log_every_n_steps", "accumulate_grad_batches")
    steps, validate, log, accumulate = (settings[name] for name in names)
    if min(steps, validate, log, accumulate) < 1:
        got = ", ".join(f"{name}={settings[name]}" for name in names)
        raise UserError(f"need settings of trainer of at least 1, got {got}")
    return {"val_check_interval": min(validate, steps) * accumulate, "log_every_n_steps": min(log, steps)}


def write_config(settings: Plain, folder: Path) -> Path:
    """Writes ``config.yaml``: every setting of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def make_network(settings: Plain, num_classes: int) -> AFA:
    """The model with its pretrained backbone; with all its weights where these are an official AFA checkpoint."""
    pretrained = settings.get("pretrained")
    if pretrained is None or not is_reference_checkpoint(pretrained):
        return create_model(num_classes=num_classes, **settings)
    network = create_model(num_classes=num_classes, **settings | {"pretrained": None})
    load_network(network, pretrained)
    return network


def read_checkpoint(path: str) -> Plain:
    """Everything in a checkpoint that ``afa-train`` wrote, never running code from it.

    Raises:
        UserError: Where there is no such file, or it is not one of ours.
    """
    if not Path(path).is_file():
        raise UserError(f"need a checkpoint of afa-train, found none at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"need a checkpoint of afa-train, {path} cannot be read ({type(error).__name__})") from error
    if not isinstance(content, dict) or CONFIG_KEY not in content or "state_dict" not in content:
        raise UserError(f"need a checkpoint of afa-train, {path} holds no configuration")
    return content


def load_checkpoint(path: str) -> tuple[Plain, dict[str, torch.Tensor]]:
    """The configuration and the weights of a checkpoint; errors as in ``read_checkpoint``."""
    content = read_checkpoint(path)
    return content[CONFIG_KEY], network_weights(content)


def network_weights(checkpoint: Plain) -> dict[str, torch.Tensor]:
    """The network's part of the module's weights."""
    prefix = "network."
    weights = checkpoint["state_dict"].items()
    return {key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)}


def find_device(name: str) -> torch.device:
    """``auto`` for a GPU where there is one; else the device of that name.

    Raises:
        UserError: For a GPU where there is none, or an unknown name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"need a device of auto, cpu, cuda or cuda:N; got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"need a GPU for device={name}, torch {torch.__version__} sees none; use device=cpu")
    return device
