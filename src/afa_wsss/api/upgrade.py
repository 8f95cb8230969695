"""Settings stored by earlier versions, in the form of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOVED = {
    "afa_wsss.data.voc.VOCDataset": "afa_wsss.data.VOCDataset",
    "afa_wsss.data.coco.COCODataset": "afa_wsss.data.COCODataset",
    "afa_wsss.data.folder.FolderDataset": "afa_wsss.data.FolderDataset",
}
"""Classes of data sets, and where they are now."""


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` as the present version stores it; one that is already so comes back equal."""
    config = dict(config)
    dataset = config["data"].get("dataset", {})
    moved = {"_target_": MOVED.get(dataset.get("_target_"), dataset.get("_target_"))}
    config["data"] = config["data"] | {"dataset": dataset | moved}
    if "_target_" not in config["supervision"]:
        config["supervision"] = _supervision(config["supervision"], config["inference"])
    config["inference"] = upgraded_inference(config["inference"])
    return config


def upgraded_inference(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Until version 0.2.0 the dense CRF, ``crf``, was the only refinement of predictions."""
    values = {name: value for name, value in stored.items() if name != "crf"}
    return {"refinement": "crf" if stored["crf"] else "none"} | values if "crf" in stored else values


def _supervision(stored: Mapping[str, Any], inference: Mapping[str, Any]) -> dict[str, Any]:
    """AFA was the only label maker, PAR or nothing its refinement, and CAM scales were a setting of inference alone."""
    values = {name: value for name, value in stored.items() if name != "par"}
    par = stored.get("par")
    refinement = "NoRefinement" if par is None else "PAR"
    return {
        "_target_": "afa_wsss.supervision.AFALabels",
        **values,
        "cam_scales": inference["cam_scales"],
        "refinement": {"_target_": f"afa_wsss.supervision.{refinement}"} | (par or {}),
    }
