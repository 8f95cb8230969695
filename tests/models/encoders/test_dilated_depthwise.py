"""Dilated depthwise convolutions against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from afa_wsss.models import create_model
from afa_wsss.models.encoders.dilated_depthwise import DilatedDepthwise, speed_up_dilated_depthwise


def both(kernel=5, *, bias=False, dtype=torch.float32):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, padding=kernel // 2 * 2, dilation=2, groups=6, bias=bias).to(dtype)
    fast = copy.deepcopy(plain)
    speed_up_dilated_depthwise(fast)
    assert type(fast) is DilatedDepthwise
    assert type(plain) is nn.Conv2d
    return plain, fast


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(9, 7), (1, 3)])
def test_results_and_gradients_are_those_of_pytorch(kernel, bias, memory, size):
    found = []
    maps, weights = torch.randn(2, 6, *size), torch.randn(2, 6, *size)
    for layer in both(kernel, bias=bias):
        given = maps.clone().contiguous(memory_format=memory).requires_grad_()
        result = layer(given)
        (result * weights).sum().backward()
        found.append((result.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_are_those_of_finite_differences():
    _, layer = both(3, dtype=torch.float64)
    maps = torch.randn(1, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, maps)
    assert torch.autograd.gradgradcheck(layer, maps)


def test_without_gradient_and_in_other_precisions_it_is_pytorchs():
    plain, fast = both()
    maps = torch.randn(1, 6, 8, 8)
    with torch.no_grad():
        assert torch.equal(fast(maps), plain(maps))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(maps), plain(maps))


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, stride=2),
        nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, padding_mode="circular"),
        nn.Conv2d(6, 6, 2, padding=2, dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding="same", dilation=2, groups=6),
    ],
)
def test_other_convolutions_stay_what_they_are(other):
    speed_up_dilated_depthwise(other)
    assert type(other) is nn.Conv2d


def test_the_last_stage_of_an_efficientnet_has_them_and_keeps_its_names():
    encoder = create_model("tf_efficientnet_lite0", num_classes=2, pretrained=None).encoder
    names = [name for name, part in encoder.named_modules() if isinstance(part, DilatedDepthwise)]
    assert len(names) == 4
    assert {f"{name}.weight" for name in names} <= encoder.state_dict().keys()
