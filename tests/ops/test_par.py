from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tests.oracles import refinement

from afa_wsss.errors import UserError
from afa_wsss.ops import par, par_forms
from afa_wsss.ops.par import PARSettings, apply_kernel, kernel_weights, neighbor_kernel, propagate_scores, refine
from afa_wsss.ops.par_forms import kernel_weights_by_rows, propagate_shifted, propagate_sparse
from afa_wsss.ops.pseudo_label import box_mask


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("steps", [1, 10])
def test_equals_the_official_output(golden, case, steps) -> None:
    data = golden("par")
    image, scores = (torch.from_numpy(data[f"{name}{case}"]) for name in ("image", "scores"))
    torch.testing.assert_close(
        refine(image, scores, steps=steps), torch.from_numpy(data[f"out{case}_steps{steps}"]), atol=1e-4, rtol=0
    )


def test_equals_the_sum_over_neighbors_one_pixel_at_a_time() -> None:
    image, scores = torch.rand(1, 3, 9, 7), torch.rand(1, 2, 9, 7)
    expected = refinement.refine(image[0].double().numpy(), scores[0].double().numpy(), dilations=(1, 3), steps=3)
    refined = refine(image, scores, dilations=(1, 3), steps=3)[0].numpy()
    np.testing.assert_allclose(refined, expected, atol=1e-5)


BOXES = pytest.mark.parametrize("boxes", [None, torch.tensor([[0, 12, 0, 15], [2, 9, 3, 14]])])


def inside(boxes):
    """Pixels whose values are defined, of two photos of 12 x 15."""
    return torch.ones(2, 1, 12, 15) if boxes is None else box_mask(boxes, 12, 15)[:, None]


@BOXES
@pytest.mark.parametrize("form", [propagate_shifted, propagate_sparse])
def test_faster_forms_of_applying_equal_the_formula(boxes, form) -> None:
    image, scores = torch.rand(2, 3, 12, 15), torch.rand(2, 4, 12, 15)
    kernel = neighbor_kernel(image, boxes=boxes)
    expected = propagate_scores(kernel, scores, 4) * inside(boxes)
    torch.testing.assert_close(form(kernel, scores, 4) * inside(boxes), expected)


@BOXES
@pytest.mark.parametrize("pixels_at_once", [70, 1 << 15])
def test_weights_by_rows_equal_the_formula(boxes, pixels_at_once, monkeypatch) -> None:
    monkeypatch.setattr(par_forms, "_PIXELS_AT_ONCE", pixels_at_once)
    arguments = torch.rand(2, 3, 12, 15), (1, 2, 4), 0.3, boxes, torch.rand(24, 1, 1)
    expected = kernel_weights(*arguments) * inside(boxes)
    torch.testing.assert_close(kernel_weights_by_rows(*arguments) * inside(boxes), expected)


@BOXES
def test_what_the_dispatch_chooses_equals_the_formula(boxes, monkeypatch) -> None:
    image, scores = torch.rand(2, 3, 12, 15), torch.rand(2, 9, 12, 15)
    eager = refine(image, scores, boxes=boxes)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for name in ("kernel_weights_by_rows", "faster_propagation"):
        monkeypatch.setattr(par, name, None)  # the formula needs neither
    formula = apply_kernel(neighbor_kernel(image, boxes=boxes), scores)
    torch.testing.assert_close(eager * inside(boxes), formula * inside(boxes))


@pytest.mark.parametrize("channels", [2, 9])
def test_few_and_many_channels_are_refined_alike(channels) -> None:
    image, scores = torch.rand(1, 3, 9, 11), torch.rand(1, 9, 9, 11)
    torch.testing.assert_close(refine(image, scores)[:, :channels], refine(image, scores[:, :channels]))


def test_a_box_is_refined_as_if_it_were_the_whole_photo() -> None:
    image, scores = torch.rand(2, 3, 16, 14), torch.rand(2, 3, 16, 14)
    boxes = torch.tensor([[0, 16, 0, 14], [3, 13, 2, 11]])
    refined = refine(image, scores, boxes=boxes)
    for row, (y0, y1, x0, x1) in enumerate(boxes.tolist()):
        window = (slice(row, row + 1), slice(None), slice(y0, y1), slice(x0, x1))
        torch.testing.assert_close(refined[window], refine(image[window], scores[window]))


def test_rows_sum_to_one_and_a_hundredth_so_constants_stay_constant() -> None:
    constant = torch.full((1, 2, 10, 11), 0.7)
    refined = refine(torch.rand(1, 3, 10, 11), constant, steps=10)
    torch.testing.assert_close(refined, constant * 1.01**10)


def test_is_linear_in_the_scores() -> None:
    image, one, other = torch.rand(1, 3, 8, 8), torch.rand(1, 2, 8, 8), torch.rand(1, 2, 8, 8)
    torch.testing.assert_close(refine(image, 2 * one + other), 2 * refine(image, one) + refine(image, other))


def test_scores_stop_at_an_edge() -> None:
    image = torch.zeros(1, 3, 20, 20)
    image[..., 10:] = 1
    scores = torch.zeros(1, 1, 20, 20)
    scores[..., 4:8, 4:8] = 1
    refined = refine(image, scores, dilations=(1, 2, 4), steps=10, w3=0.0)
    assert refined[..., :10].mean() > 10 * refined[..., 11:].mean()


def test_half_precision_input_is_refined_in_float32() -> None:
    image, scores = torch.rand(1, 3, 8, 8), torch.rand(1, 2, 8, 8)
    refined = refine(image.bfloat16(), scores.bfloat16())
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, refine(image.bfloat16().float(), scores.bfloat16().float()))


def test_stays_float32_under_autocast() -> None:
    image, scores = torch.rand(1, 3, 8, 8), torch.rand(1, 2, 8, 8)
    exact = refine(image, scores)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(refine(image, scores), exact)


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"dilations": ()}, "dilations"),
        ({"dilations": (0,)}, "dilations"),
        ({"steps": -1}, "steps"),
        ({"w1": 0.0}, "w1"),
        ({"w2": -1.0}, "w2"),
        ({"w3": -0.1}, "w3"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong, argument) -> None:
    for refuses in (PARSettings, partial(refine, torch.rand(1, 3, 8, 8), torch.rand(1, 2, 8, 8))):
        with pytest.raises(UserError, match="need") as raised:
            refuses(**wrong)
        assert raised.value.arguments == (argument,)
