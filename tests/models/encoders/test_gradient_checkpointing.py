"""Gradient checkpointing: the same losses and gradients, with dropout and DropPath, from fewer tensors in memory."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from afa_wsss.errors import UserError
from afa_wsss.models import create_model

BACKBONES = [
    "mit_b0",
    "mit_nano",
    "deit_tiny_patch16_224",
    "vit_small_patch16_dinov3",
    "tf_efficientnet_lite0",
    "convnext_atto",
    "resnet18",
]


def networks(backbone):
    """The same network twice, the second with gradient checkpointing."""
    torch.manual_seed(3)
    plain = create_model(backbone, num_classes=2, decoder_width=16, drop_path_rate=0.3, dropout=0.3)
    saving = create_model(
        backbone, num_classes=2, decoder_width=16, drop_path_rate=0.3, dropout=0.3, gradient_checkpointing=True
    )
    saving.load_state_dict(plain.state_dict())
    return plain.train(), saving.train()


def step(network, *, autocast=False):
    """Loss, gradients and kept bytes of a step that every output has a part in."""
    torch.manual_seed(4)
    kept, own = {}, {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(saved):
        pointer = saved.untyped_storage().data_ptr()
        kept.update({} if pointer in own else {pointer: saved.untyped_storage().nbytes()})
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = network(torch.randn(2, 3, 64, 96))
        loss = sum(part.float().square().mean() for part in (output.class_logits, output.seg_logits, output.affinity))
    bytes_kept = sum(kept.values())
    loss.backward()
    return loss.detach(), {name: one.grad for name, one in network.named_parameters()}, bytes_kept, torch.rand(1)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_same_gradients_from_less_memory(backbone):
    (loss, gradients, whole, drawn), (found, found_gradients, less, drawn_after) = (
        step(network) for network in networks(backbone)
    )
    torch.testing.assert_close(found, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, msg=lambda text, name=name: name + text)
    assert less < 0.9 * whole
    assert torch.equal(drawn, drawn_after)  # the generators go on from the same state


@pytest.mark.parametrize("backbone", ["mit_b0", "deit_tiny_patch16_224"])
def test_under_autocast_too(backbone):
    (loss, gradients, *_), (found, found_gradients, *_) = (step(one, autocast=True) for one in networks(backbone))
    torch.testing.assert_close(found, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient)


def test_a_vision_transformer_keeps_no_queries_after_its_backward_pass():
    _, network = networks("deit_tiny_patch16_224")
    step(network)
    assert all(reader.query is None and reader.key is None for reader in network.encoder.readers)


def test_a_backbone_that_goes_past_it_is_refused_in_one_line():
    encoder = create_model("tf_efficientnet_lite0", num_classes=2).encoder
    encoder.body.set_grad_checkpointing = lambda enable: None  # accepted, and nothing follows
    with pytest.raises(
        UserError, match="computes its blocks again in the backward pass, tf_efficientnet_lite0 does"
    ) as error:
        encoder.checkpoint_gradients()
    assert error.value.arguments == ("gradient_checkpointing",)
