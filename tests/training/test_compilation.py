"""``trainer.compile=true``: same numbers, few graphs, none of them for held-out photos."""

from __future__ import annotations

import json

import lightning
import numpy as np
import pytest
import torch
from PIL import Image
from tests.commands import run_command, small_run, write_small_set
from tests.training.module.modules import make_module

from afa_wsss.cli import train as training
from afa_wsss.errors import UserError
from afa_wsss.inference import multi_scale_cam
from afa_wsss.models import create_model
from afa_wsss.models.encoders.mix_transformer import MixTransformer
from afa_wsss.training.callbacks import Compilation
from afa_wsss.training.weight_average import WeightAverage

# Where dynamo looks at tensors between two graphs it reads .grad, and warns itself of doing so.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

GRAPHS = 3
"""Of a run with the demo's two CAM scales: the training pass, and one each for maps of photos and mirror images."""


@pytest.fixture
def traced(dynamo, monkeypatch):
    """Compiles as ever, but for the last stage, which takes a C++ compiler minutes; too many graphs are an error."""
    compiled = MixTransformer.compile
    monkeypatch.setattr(MixTransformer, "compile", lambda self, **words: compiled(self, backend="eager", **words))
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield dynamo


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Held-out pictures of five sizes."""
    root = write_small_set(tmp_path_factory.mktemp("partshapes"))
    for index, name in enumerate((root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()):
        for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            path = root / folder / f"{name}.{ending}"
            picture = Image.open(path)
            picture.crop((0, 0, 40 + index, 48 - index)).save(path)
    return root


def trained(root, folder, *words):
    """Metrics of a run without dropout, whose numbers compiled code draws in another order."""
    words = [
        *small_run(root),
        "data.eval_batch_size=1",
        "model.dropout=0",
        "callbacks=none",
        f"output_dir={folder}",
        *words,
    ]
    assert run_command(training.main, *words) == 0
    return json.loads((folder / "metrics.json").read_text())


def test_one_override_compiles_training_and_leaves_validation_as_it_is(root, tmp_path, traced):
    plain = trained(root, tmp_path / "plain")
    assert traced["unique_graphs"] == 0
    compiled = trained(root, tmp_path / "compiled", "trainer.compile=true")
    assert traced["unique_graphs"] == GRAPHS
    known = {name: value for name, value in plain.items() if value is not None}
    assert compiled.keys() == plain.keys()
    assert [compiled[name] is None for name in plain] == [plain[name] is None for name in plain]
    np.testing.assert_allclose([compiled[name] for name in known], list(known.values()), rtol=1e-4, atol=1e-4)
    # Another run of a sweep, with other crops, begins anew.
    other = ["data.crop_size=40", "inference.cam_scales=[1]", "trainer.max_steps=2", "data.val_split=null"]
    trained(root, tmp_path / "other", "trainer.compile=true", *other)
    assert traced["unique_graphs"] == GRAPHS + 2


def test_class_counts_share_the_graphs(traced):
    images = torch.randn(2, 3, 48, 48)
    for classes in (1, 5, 80):
        network = create_model("mit_nano", num_classes=classes, decoder_width=8)
        network.encoder.compile(dynamic=False)
        network(images).class_logits.sum().backward()
        multi_scale_cam(network, images, scales=(1.0, 0.5))
    assert traced["unique_graphs"] == 3  # the training pass and two scales


def test_images_that_are_too_small_are_still_told_in_one_line(traced):
    network = create_model("mit_b0", num_classes=2, decoder_width=8)
    network.encoder.compile(dynamic=False)
    with pytest.raises(UserError, match="need images of at least 29 pixels a side, got 8 x 48"):
        network(torch.randn(2, 3, 8, 48))


def test_a_validation_that_is_cut_short_leaves_compiling_on(traced):
    doubled = torch.compile(lambda x: 2 * x, backend="eager")
    callback = Compilation()
    callback.on_validation_start(None, None)
    doubled(torch.ones(2))
    assert traced["unique_graphs"] == 0
    callback.on_exception(None, None, KeyboardInterrupt())
    doubled(torch.ones(2))
    assert traced["unique_graphs"] == 1


def test_a_teacher_is_compiled_too_and_nothing_after_training():
    module = make_module()
    module.average = WeightAverage(module.network, decay=0.9, uses=["labels"])
    encoders = module.network.encoder, module.average.network.encoder
    callback, trainer = Compilation(), lightning.Trainer(accelerator="cpu", barebones=True)
    callback.setup(trainer, module, "fit")
    callback.on_train_start(trainer, module)
    assert all(encoder._compiled_call_impl is not None for encoder in encoders)
    callback.teardown(trainer, module, "fit")
    assert all(encoder._compiled_call_impl is None for encoder in encoders)
