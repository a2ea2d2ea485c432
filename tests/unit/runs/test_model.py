"""Pictures in, features, tokens and predictions out: what a loaded network gives Python users."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import jepakit
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.data.normalization import Normalizer
from jepakit.objectives.ijepa import IJepa
from jepakit.pretrained.timm import open_timm
from jepakit.runs.loaded import Loaded, LoadReport
from jepakit.runs.model import Model
from jepakit.runs.trained import open_trained

CPU = torch.device("cpu")
VIEWS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8))
PICTURES = VIEWS.permute(0, 2, 3, 1).numpy()


def inputs(model: Model) -> Tensor:
    return model.loaded.normalise(VIEWS)


def test_features_are_what_the_encoder_pools(model: Model) -> None:
    expected = model.loaded.target_encoder.pooled(inputs(model))  # type: ignore[union-attr]
    found = model.features(PICTURES)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), expected)
    as_tensor = model.features(VIEWS, out="torch", batch_size=2)
    assert isinstance(as_tensor, Tensor)
    torch.testing.assert_close(as_tensor, expected)
    torch.testing.assert_close(model.features(iter(PICTURES), batch_size=3, out="torch"), expected)


def test_layers_stand_side_by_side_and_pools_differ(model: Model) -> None:
    first, last = (model.features(PICTURES, layers=(layer,)) for layer in (0, 1))
    both = model.features(PICTURES, layers=(-1, 0))
    np.testing.assert_array_equal(both, np.concatenate([last, first], axis=1))
    tokens = model.features(PICTURES, pool="none")
    assert tokens.shape == (5, 16, 32)
    np.testing.assert_allclose(tokens.mean(axis=1), last, atol=1e-6)
    np.testing.assert_allclose(tokens.max(axis=1), model.features(PICTURES, pool="max"))
    with pytest.raises(ValueError, match="there is no layer 2: this encoder has 2"):
        model.features(PICTURES, layers=(2,))


def test_tokens_lie_where_their_patches_lie(model: Model) -> None:
    tokens = model.tokens(PICTURES)
    assert tokens.shape == (5, 4, 4, 32)
    changed = VIEWS.clone()
    changed[0, :, 8:16, 24:32] = 255 - changed[0, :, 8:16, 24:32]
    moved = np.abs(model.tokens(changed, layer=0) - model.tokens(VIEWS, layer=0)).sum(axis=-1)
    assert np.unravel_index(moved[0].argmax(), (4, 4)) == (1, 3)
    assert not moved[1:].any()


def test_pictures_of_any_size_become_one_and_may_stay_whole(model: Model) -> None:
    large = np.zeros((50, 80, 3), np.uint8)
    assert model.features([large, PICTURES[0]]).shape == (2, 32)
    assert model.tokens(large, size=(16, 40)).shape == (1, 2, 5, 32)
    assert model.tokens(large, size=64).shape == (1, 8, 8, 32)
    wide, tall = np.zeros((16, 40, 3), np.uint8), np.zeros((40, 16, 3), np.uint8)
    assert model.tokens(wide, size="whole").shape == (1, 2, 5, 32)
    mixed = model.features([wide, tall, tall, PICTURES[0]], size="whole")
    np.testing.assert_allclose(mixed[3:], model.features(PICTURES[:1]), atol=1e-6)
    np.testing.assert_allclose(mixed[1], mixed[2], atol=1e-6)
    with pytest.raises(ValueError, match="several sizes do not fit into one array"):
        model.tokens([wide, tall], size="whole")


def test_views_are_what_is_seen(model: Model) -> None:
    np.testing.assert_array_equal(model.views(PICTURES), PICTURES)
    seen = model.views([np.zeros((50, 80, 3), np.uint8), PICTURES[0]])
    np.testing.assert_array_equal(model.features(seen), model.features(seen, size="whole"))


@pytest.mark.parametrize("size", [(30, 32), 33, "whole"])
def test_a_size_that_is_no_multiple_of_the_patch(model: Model, size: Any) -> None:
    with pytest.raises(ValueError, match=r"does not divide into patches .* e\.g\. 3. x 32"):
        model.features(np.zeros((30, 32, 3), np.uint8), size=size)


def test_no_pictures_and_other_mistakes(model: Model) -> None:
    nothing: list[Any] = []
    for call in (model.features, model.tokens, model.views):
        with pytest.raises(ValueError, match="there are no pictures: give at least one"):
            call(nothing)  # type: ignore[operator]
    with pytest.raises(ValueError, match="batch_size=0 must be a whole number, at least 1"):
        model.features(PICTURES, batch_size=0)
    with pytest.raises(ValueError, match="size"):
        model.features(PICTURES, size=0)


def test_a_long_generator_is_not_held(model: Model) -> None:
    alive: list[int] = []

    class Counted(np.ndarray):
        def __del__(self) -> None:
            alive.append(-1)

    def stream() -> Iterator[np.ndarray]:
        for _ in range(40):
            alive.append(1)
            assert sum(alive) < 12
            yield PICTURES[0].copy().view(Counted)

    assert model.features(stream(), batch_size=4).shape == (40, 32)


def test_the_branch_is_the_one_asked_for(home: Path) -> None:
    folder = home / "runs" / "my-run"
    target = jepakit.load(folder, device="cpu")
    context = jepakit.load(folder, device="cpu", branch="context")
    assert "context encoder" in repr(context)
    assert "target encoder" in repr(target)
    assert "with predictor, on cpu in" in repr(target)
    assert not np.allclose(target.features(PICTURES), context.features(PICTURES))
    objective: Any = open_trained(folder, CPU).objective
    expected = objective.context_encoder.pooled(inputs(context))
    torch.testing.assert_close(context.features(PICTURES, out="torch"), expected)
    assert target.subject.fingerprint != context.subject.fingerprint
    assert target.report.used


def test_networks_are_in_eval_mode_only_while_used(home: Path) -> None:
    model = jepakit.load(home / "runs" / "my-run", device="cpu")
    model.encoder.train()
    model.features(PICTURES)
    assert model.encoder.training


def test_a_prediction_is_that_of_the_training(model: Model, home: Path) -> None:
    objective = open_trained(home / "runs" / "my-run", CPU).objective
    assert isinstance(objective, IJepa)
    hidden = [5, 6, 9, 10]
    masks = MaskIndices(
        torch.tensor([i for i in range(16) if i not in hidden]).expand(5, 1, -1),
        torch.tensor(hidden).expand(5, 1, -1),
    )
    zeros = torch.zeros(5, dtype=torch.int64)
    batch = Batch(inputs(model), masks, zeros, zeros)
    found = model.predict(PICTURES, target=(8, 8, 16, 16), batch_size=2)
    with torch.no_grad():
        expected = objective.predict(batch)[:, 0, 0].unflatten(1, (2, 2))
        loss = objective(batch).loss
    np.testing.assert_allclose(found.predicted, expected.numpy(), atol=1e-5)
    assert found.mean.mean() == pytest.approx(loss.item(), abs=1e-5)
    truth = torch.from_numpy(model.tokens(PICTURES))[:, 1:3, 1:3]
    np.testing.assert_allclose(found.truth, F.layer_norm(truth, (32,)).numpy(), atol=1e-5)
    squared = model.predict(PICTURES, target=(8, 8, 16, 16), distance="l2")
    distance = ((found.predicted - found.truth) ** 2).mean(axis=-1)
    np.testing.assert_allclose(squared.energy, distance, atol=1e-5)


def test_the_context_may_be_a_box_or_a_mask(model: Model) -> None:
    target = (0, 16, 8, 16)
    mask = np.zeros((4, 4), bool)
    mask[1:3, :2] = True
    by_mask = model.predict(PICTURES, target=target, context=mask)
    by_box = model.predict(PICTURES, target=target, context=(8, 0, 16, 16))
    by_tensor = model.predict(VIEWS, target=target, context=torch.from_numpy(mask))
    np.testing.assert_array_equal(by_mask.energy, by_box.energy)
    np.testing.assert_array_equal(by_mask.energy, by_tensor.energy)
    assert by_mask.energy.shape == (5, 1, 2)
    outside = VIEWS.clone()
    outside[:, :, 24:] = 0  # what is neither seen nor hidden does not matter to what is predicted
    again = model.predict(outside, target=target, context=mask)
    np.testing.assert_array_equal(again.predicted, by_mask.predicted)


def test_predictions_at_another_size_than_that_of_the_training(model: Model) -> None:
    found = model.predict(PICTURES, target=(0, 0, 8, 48), size=(40, 64))
    assert found.energy.shape == (5, 1, 6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"target": (0, 0, 4, 16)}, "is smaller than a patch of 8 x 8 pixels"),
        ({"target": (0, 0, 0, 0)}, "is smaller than a patch"),
        ({"target": (16, 16, 24, 8)}, "reaches outside of 32 x 32 pixels"),
        ({"target": (-8, 0, 16, 16)}, "reaches outside"),
        ({"target": (4, 4, 16, 16)}, r"cuts patches .* apart: give e.g. \(0, 0, 24, 24\)"),
        ({"target": (0, 0, 16)}, r"is no box: give \(top, left, height, width\) in whole pixels"),
        ({"target": (0, 0, 32, 32)}, "the context holds no patch"),
        ({"target": (0, 0, 8, 8), "context": (0, 0, 16, 16)}, "1 patches are in the context and"),
        ({"target": (0, 0, 8, 8), "context": np.ones((32, 32), bool)}, r"give booleans .*\[4, 4\]"),
        ({"target": (0, 0, 8, 8), "context": np.ones((4, 4))}, "array of float64"),
        ({"target": (0, 0, 8, 8), "context": (0, 0, 40, 40)}, "context=.* reaches outside"),
    ],
)
def test_boxes_that_mean_nothing(model: Model, arguments: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        model.predict(PICTURES, **arguments)


def test_without_a_predictor_nothing_is_predicted(model: Model) -> None:
    alone = Model(replace(model.loaded, predictor=None), CPU, "fp32")
    assert "without predictor" in repr(alone)
    with pytest.raises(ValueError, match="holds no predictor: to predict, load a run folder"):
        alone.predict(PICTURES, target=(0, 0, 8, 8))


def test_models_of_timm_give_features_and_tokens() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    backbone, statistics, size = open_timm("test_vit", pretrained=False)
    report = LoadReport((), (), (), "timm")
    loaded = Loaded(
        "timm:test_vit", backbone, None, None, None, None, Normalizer(statistics), size, report
    )
    model = Model(loaded, CPU, "fp32")
    rows, columns = size[0] // model.patch[0], size[1] // model.patch[1]
    picture = np.zeros((*size, 3), np.uint8)
    assert model.tokens(picture).shape == (1, rows, columns, model.width)
    with pytest.raises(ValueError, match="pixels only: leave size out"):
        model.features(picture, size=(size[0] * 2, size[1]))
    with pytest.raises(ValueError, match="holds no predictor"):
        model.predict(picture, target=(0, 0, 16, 16))


def test_other_numbers_of_channels(new_run: Callable[..., Path], tmp_path: Path) -> None:
    run = new_run(tmp_path / "bands", 5)
    model = jepakit.load(run, device="cpu")
    bands = np.random.default_rng(0).integers(0, 256, (40, 40, 5), dtype=np.uint8)
    assert model.features([bands, bands]).shape == (2, 32)
    with pytest.raises(ValueError, match="it has 3 channels and the network takes 5"):
        model.features(PICTURES)
    with pytest.raises(ValueError, match="a RGB picture where channels=5"):
        model.features(Image.fromarray(PICTURES[0]))


def test_importing_the_package_brings_no_torch_along() -> None:
    code = "import sys, jepakit; jepakit.__version__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pydantic"} & set(done.stdout.split())
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        jepakit.lod  # noqa: B018
