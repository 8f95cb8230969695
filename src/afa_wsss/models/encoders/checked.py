"""Checks a backbone of one's own on a small image, before anything is trained or loaded."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from numbers import Integral
from typing import Any, NoReturn

import torch
from torch import Tensor

from afa_wsss.errors import UserError, described
from afa_wsss.models.encoders.encoder import Attention, Encoder
from afa_wsss.models.encoders.training_parts import evaluating

log = logging.getLogger(__name__)

STEP = 32
"""Sides of the image that is tried are multiples of it, as most backbones need."""


def check_encoder(encoder: Encoder) -> None:
    """Compares what ``encoder`` says of itself with what it makes of one image.

    Its sides differ, so that they cannot be exchanged; the grid is compared for odd sides, too. A line says where the
    backbone takes no image of such a size.

    Raises:
        UserError: For an encoder whose attributes, feature maps, token grid, attention or parameters do not fit.
    """
    name = type(encoder).__name__
    _check_attributes(encoder, name)
    side = -(-max(encoder.smallest_side, 2 * STEP) // STEP) * STEP
    images = torch.zeros(1, 3, 2 * side, 3 * side)
    output = _encoded(encoder, images, name)
    if output is None:
        return
    _check_features(encoder, output, images, name)
    _check_attention(encoder, output[1], tuple(output[0][-1].shape[-2:]), name)
    odd = torch.zeros(1, 3, 2 * side + 5, 3 * side + 11)  # as photos are in validation
    with torch.no_grad():
        output = _encoded(encoder, odd, name)
    if output is not None:
        _check_features(encoder, output, odd, name)
    own = {id(parameter) for parameter in encoder.parameters()}
    for method, parameters in _named(encoder):
        if not {id(parameter) for parameter in parameters} <= own:
            _refuse(f"parameters of its own from {name}.{method}()", "others")


def _encoded(encoder: Encoder, images: Tensor, name: str) -> Any:
    """What the encoder makes of an image in evaluation mode; None, and a line, where it raises an error."""
    try:
        with evaluating(encoder):
            return encoder.encode(images, attention=True)
    except (RuntimeError, ValueError, TypeError, AssertionError, UserError) as error:
        # Perhaps an image of this size alone: training raises what is wrong with those of its own.
        note = "%s is not checked: it raised %s for an image of %d x %d pixels"
        log.warning(note, name, type(error).__name__, *images.shape[-2:])
        return None


def _check_attributes(encoder: Encoder, name: str) -> None:
    if "_modules" not in vars(encoder):
        _refuse(f"super().__init__() at the start of {name}.__init__", "none")
    widths, channels = getattr(encoder, "widths", None), getattr(encoder, "attention_channels", None)
    if not (isinstance(widths, Sequence) and widths and all(_is_size(width) for width in widths)):
        _refuse(f"a tuple of channels, one for each feature map, as {name}.widths", repr(widths))
    if not _is_size(channels):
        _refuse(f"the number of heads that are read as {name}.attention_channels", repr(channels))
    if not _is_size(encoder.smallest_side):
        got = type(encoder.smallest_side).__name__
        _refuse(f"a number of pixels as {name}.smallest_side", f"{got}; put @property before its definition")
    taken = inspect.signature(encoder.forward).parameters
    if "attention" not in taken and all(parameter.kind != parameter.VAR_KEYWORD for parameter in taken.values()):
        _refuse(f"{name}.forward to take attention=", "one without; write encode() and leave forward() as it is")


def _check_features(encoder: Encoder, output: Any, images: Tensor, name: str) -> None:
    made = f"from {name}.encode"
    if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], Sequence)):
        _refuse(f"an EncoderOutput {made}", type(output).__name__)
    if len(output[0]) != len(encoder.widths):
        _refuse(f"{len(encoder.widths)} feature maps {made}, as many as widths", str(len(output[0])))
    for width, features in zip(encoder.widths, output[0], strict=True):
        if not (isinstance(features, Tensor) and features.dim() == 4 and features.shape[:2] == (1, width)):
            _refuse(f"a feature map of shape (1, {width}, h, w) {made}, by its widths", described(features))
    height, width = images.shape[-2:]
    grid, last = encoder.grid(height, width), tuple(output[0][-1].shape[-2:])
    if not (isinstance(grid, Sequence) and tuple(grid) == last and all(_is_size(side) for side in grid)):
        given = tuple(grid) if isinstance(grid, Sequence) else grid
        _refuse(f"{last} from {name}.grid({height}, {width}), the size of its last feature map there", str(given))


def _check_attention(encoder: Encoder, attention: Attention | None, grid: tuple[int, ...], name: str) -> None:
    if attention is None:
        _refuse(f"queries and keys from {name}.encode with attention=True", "None")
    wanted = (1, encoder.attention_channels, grid[0] * grid[1])
    for kind, vectors in zip(("queries", "keys"), attention, strict=False):
        if not (vectors.dim() == 4 and tuple(vectors.shape[:3]) == wanted):
            shape = f"({wanted[0]}, {wanted[1]}, {wanted[2]}, d)"
            _refuse(
                f"{kind} of shape {shape} from {name}.encode, by its attention_channels and grid",
                str(tuple(vectors.shape)),
            )
        if any(parameter.requires_grad for parameter in encoder.attention_inputs()) and not vectors.requires_grad:
            _refuse(f"{kind} with gradient from {name}.encode", "some without; leave out detach() and no_grad()")


def _is_size(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) > 0


def _named(encoder: Encoder) -> Iterator[tuple[str, list[torch.nn.Parameter]]]:
    yield "attention_inputs", encoder.attention_inputs()
    yield "new_parameters", encoder.new_parameters()
    yield "layers", list(chain.from_iterable(encoder.layers()))


def _refuse(wanted: str, got: str) -> NoReturn:
    raise UserError(f"need {wanted}, got {got}", arguments=("backbone",))
