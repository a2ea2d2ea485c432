"""What every registered mask sampler must do, on many grids."""

import functools
import pickle
import sys

import pytest
import torch
from pydantic import TypeAdapter

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import MaskIndices
from jepakit.masking import MASKINGS, Masking, MaskingSettings, build_masking

GRIDS = [(3, 3), (3, 20), (20, 3), (4, 4), (7, 5), (8, 8), (9, 9), (14, 14), (16, 16), (28, 28)]
# The reference's sampler refuses the others (see tests/unit/masking/test_reference_multiblock.py).
GRIDS_OF_THE_REFERENCE = [(9, 9), (14, 14), (16, 16), (28, 28)]
FAIR_CASES = [(kind, grid) for kind in MASKINGS if kind != "reference_multiblock" for grid in GRIDS]
ALL_CASES = FAIR_CASES + [("reference_multiblock", grid) for grid in GRIDS_OF_THE_REFERENCE]

cases = pytest.mark.parametrize(("kind", "grid"), ALL_CASES)
fair_cases = pytest.mark.parametrize(("kind", "grid"), FAIR_CASES)


@functools.cache
def build(kind, grid) -> Masking:
    return build_masking(MASKINGS[kind].Settings(), grid)


def draw(kind, grid, batch_size=8, step=0, first=0, seed=0) -> MaskIndices:
    return build(kind, grid)(batch_size, BatchRandom(seed, step, first))


def same(one: MaskIndices, other: MaskIndices) -> bool:
    return torch.equal(one.context, other.context) and torch.equal(one.targets, other.targets)


@cases
def test_masks_are_inside_the_grid_ascending_and_disjoint(kind, grid):
    masking = build(kind, grid)
    num_tokens = grid[0] * grid[1]
    for step in range(10):
        masks = masking(16, BatchRandom(3, step))
        for indices in (masks.context, masks.targets):
            assert indices.dtype == torch.int64
            assert indices.ndim == 3
            assert indices.is_contiguous()
            assert indices.shape[0] == 16
            assert indices.numel() > 0
            assert indices.min() >= 0
            assert indices.max() < num_tokens
            assert (indices.diff(dim=-1) > 0).all()
        context = torch.zeros(16, num_tokens).scatter(1, masks.context.flatten(1), 1)
        target = torch.zeros(16, num_tokens).scatter(1, masks.targets.flatten(1), 1)
        assert not (context * target).any()


@cases
def test_same_seed_and_step_give_the_same_masks_and_others_differ(kind, grid):
    masks = draw(kind, grid, batch_size=32)
    assert same(masks, draw(kind, grid, batch_size=32))
    assert not same(masks, draw(kind, grid, batch_size=32, step=1))
    assert not same(masks, draw(kind, grid, batch_size=32, seed=1))


@cases
def test_images_of_a_batch_differ(kind, grid):
    targets = draw(kind, grid, batch_size=32).targets
    assert (targets != targets[:1]).any()


@fair_cases
def test_slices_of_a_global_batch_are_its_rows(kind, grid):
    # Many steps, so that redrawn rows (about 1 in 100) are among them.
    for step in range(12):
        whole = draw(kind, grid, batch_size=24, step=step)
        slices = [draw(kind, grid, batch_size=8, step=step, first=first) for first in (0, 8, 16)]
        assert torch.equal(whole.context, torch.cat([masks.context for masks in slices]))
        assert torch.equal(whole.targets, torch.cat([masks.targets for masks in slices]))


@pytest.mark.parametrize("kind", MASKINGS)
def test_a_sampler_travels_to_a_loader_process(kind):
    masking = pickle.loads(pickle.dumps(build(kind, (14, 14))))
    assert same(masking(8, BatchRandom(0, 0)), draw(kind, (14, 14)))


@pytest.mark.parametrize("kind", MASKINGS)
def test_no_python_loop_over_images(kind):
    """Twenty times the images take no more calls, apart from a few redraws of short contexts."""

    def num_calls(batch_size: int) -> int:
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            draw(kind, (14, 14), batch_size=batch_size)
        finally:
            sys.setprofile(None)
        return calls

    build(kind, (14, 14))
    num_calls(1)  # imports and caches
    assert num_calls(640) < 3 * num_calls(32)


@fair_cases
def test_shapes_are_few(kind, grid):
    masks = [draw(kind, grid, batch_size=1, step=step) for step in range(150)]
    shapes = {(each.context.shape[-1], each.targets.shape[-1]) for each in masks}
    assert len(shapes) <= 18


@pytest.mark.parametrize("kind", MASKINGS)
@pytest.mark.parametrize("grid", [(2, 2), (2, 9), (9, 1)])
def test_grids_below_three_are_refused(kind, grid):
    with pytest.raises(ValueError, match="at least 3 x 3"):
        draw(kind, grid)


@pytest.mark.parametrize("kind", MASKINGS)
def test_settings_are_found_by_their_kind(kind):
    settings = TypeAdapter(MaskingSettings).validate_python({"kind": kind})
    assert isinstance(settings, MASKINGS[kind].Settings)
    assert isinstance(build_masking(settings, (14, 14)), MASKINGS[kind])


@pytest.mark.parametrize("kind", MASKINGS)
def test_unknown_settings_are_refused(kind):
    with pytest.raises(ValueError, match="num_tragets"):
        MASKINGS[kind].Settings(num_tragets=3)


def test_a_reversed_range_is_refused():
    with pytest.raises(ValueError, match=r"write \(0.15, 0.2\)"):
        MASKINGS["multiblock"].Settings(target_scale=(0.2, 0.15))
