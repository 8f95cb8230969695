"""``afa-predict``: labels every pixel of one's own photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from afa_wsss.cli import build
from afa_wsss.cli.evaluate import override
from afa_wsss.cli.official import open_checkpoint
from afa_wsss.cli.shell import run
from afa_wsss.data.files.photos import RUN_FOLDERS, is_photo, read_photo, write_mask
from afa_wsss.errors import UserError
from afa_wsss.inference import crf_labels, multi_scale_logits
from afa_wsss.models.weights.files import load_strictly
from afa_wsss.ops.image import normalize
from afa_wsss.report import overlay
from afa_wsss.report.tables import files_table


def list_photos(source: Path) -> dict[Path, Path]:
    """A photo itself, or the photos of a folder and of the folders in it, but for hidden ones and pictures of runs.

    Returns:
        What each is called in the output: its place in the folder without ending, unless photos differ in nothing else.

    Raises:
        UserError: Where there are none.
    """
    if source.is_file():
        return {source: Path(source.stem)}
    photos = {path: path.relative_to(source) for path in sorted(source.rglob("*"))}
    photos = {
        path: place
        for path, place in photos.items()
        if is_photo(place) and place.parts[0] not in RUN_FOLDERS and path.is_file()
    }
    if not photos:
        raise UserError(f"need a photo or a folder of photos for input, found none at {source}")
    alike = Counter(place.with_suffix("") for place in photos.values())
    return {path: place if alike[bare := place.with_suffix("")] > 1 else bare for path, place in photos.items()}


def read(photo: NDArray[np.uint8], logits: Tensor, *, crf: bool) -> NDArray[np.uint8]:
    """The label of every pixel (H, W) of a photo (H, W, 3), by way of the dense CRF or not."""
    labels = logits.argmax(dim=1)
    if crf:
        image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].to(logits.device)
        labels = crf_labels(image, logits, torch.tensor([[0, photo.shape[0], 0, photo.shape[1]]]))
    return labels[0].to(torch.uint8).cpu().numpy()


def predict(config: DictConfig) -> None:
    """Writes a palette PNG and an overlay for each photo."""
    folder, given = Path(HydraConfig.get().runtime.output_dir), build.plain(config)
    settings, weights = open_checkpoint(given["checkpoint"])
    inference = override(settings["inference"], given["inference"])
    network = build.make_network({**settings["model"], "pretrained": None}, weights["classifier.weight"].shape[0])
    load_strictly(network, weights, source=given["checkpoint"])
    device = build.find_device(given["device"])
    network.eval().to(device)
    palette = np.asarray(settings["palette"], dtype=np.uint8)
    failed: list[str] = []
    for path, name in track(list_photos(Path(given["input"])).items(), description="predict"):
        try:
            photo = read_photo(path)
        except UserError as error:
            failed.append(str(error))
            continue
        images = normalize(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].to(device))
        with torch.inference_mode():
            logits = multi_scale_logits(network, images, scales=inference["scales"], mirror=inference["mirror"])
            label = read(photo, logits, crf=inference.get("crf", False))
        write_mask(folder / "masks" / f"{name}.png", label, palette)
        picture = folder / "overlays" / f"{name}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(overlay(photo, label, palette)).save(picture, quality=92)
    Console().print(files_table({"masks": folder / "masks", "overlays": folder / "overlays"}))
    if failed:
        raise UserError(failed[0] + (f" ({len(failed) - 1} more like it)" if len(failed) > 1 else ""))


def main() -> None:
    """Entry point of ``afa-predict``."""
    run(predict, "predict")


if __name__ == "__main__":
    main()
