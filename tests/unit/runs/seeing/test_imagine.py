"""Samples of a decoder: their shapes and seeds, what they are told, their judge, and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jepakit.core.checkpoint import CheckpointFolder
from jepakit.core.files import write_text
from jepakit.core.state import State
from jepakit.data.normalization import IMAGENET
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.scenes.description import COLOURS
from jepakit.runs.config import RunConfig
from jepakit.runs.folder import RunFolder
from jepakit.runs.frozen import with_frozen
from jepakit.runs.networks import build_networks
from jepakit.runs.seeing.decoder import Decoder, check_same_model, open_decoder
from jepakit.runs.seeing.hidden_objects import HIDDEN, hidden_objects
from jepakit.runs.seeing.imagine import box_sides, imagine, pasted
from jepakit.runs.seeing.imagine_scores import (
    distances,
    foreign_rows,
    frechet,
    judge_scenes,
    rows_of,
)
from jepakit.runs.seeing.imagine_settings import ImagineSettings
from jepakit.runs.seeing.judge import Answers, cut_outs, train_judge
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check, to_yaml

CPU = torch.device("cpu")
BOX = (8, 8, 16, 16)


def write_decoder(folder: Path, model: str, **settings: Any) -> Path:
    """A decoder's run with one checkpoint, untrained, on a model's networks."""
    tiny = {"size": 8, "widths": [8, 16], "num_blocks": 1} | settings
    content = {
        "folder": str(folder),
        "data": {"view": {"size": 32}},
        "objective": {"kind": "pixel_decoder", "model": model, **tiny},
        "masking": {"kind": "random"},
        "precision": "fp32",
    }
    config = check(RunConfig, with_frozen(content))
    objective = build_networks(config, 3, CPU).objective
    loaded = load_weights(model, CPU)
    for name in ("context_encoder", "target_encoder", "predictor"):
        objective.get_submodule(name).load_state_dict(getattr(loaded, name).state_dict())
    tensors = {f"objective/{name}": value for name, value in objective.state_dict().items()}
    facts = {"step": 3, "num_channels": 3, "normalization": IMAGENET.model_dump()}
    CheckpointFolder(RunFolder(folder).checkpoints, config.checkpoint).save(State(tensors, facts))
    write_text(RunFolder(folder).config, to_yaml(config))
    return folder


@pytest.fixture
def model(home: Path) -> str:
    return str(home / "runs" / "my-run")


@pytest.fixture
def decoder(model: str, tmp_path: Path) -> Decoder:
    return open_decoder(str(write_decoder(tmp_path / "decoder", model)), CPU, "fp32")


def views(number: int = 3) -> Tensor:
    source = ProceduralScenes(ProceduralScenes.Settings(num_pictures=number, size=(32, 32)))
    pixels = np.stack([source.sample(n).picture for n in range(number)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


FEW = ImagineSettings(steps=2, samples=2)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "fast"])
def test_a_sample_depends_on_its_seed_and_its_picture_alone(decoder: Decoder, sampler: Any) -> None:
    settings = ImagineSettings(steps=3, sampler=sampler)
    together = imagine(decoder.trio, decoder, views(), [BOX] * 3, [5, 6], settings=settings)
    assert together.shape == (3, 2, 3, 16, 16)
    assert together.dtype == torch.uint8
    alone = imagine(decoder.trio, decoder, views()[1:2], [BOX], [6], settings=settings)
    assert (together[1, 1].int() - alone[0, 0].int()).abs().max() <= 1  # rounding
    assert (together[1, 0].int() - together[1, 1].int()).abs().float().mean() > 5


def test_what_is_told_changes_samples_and_guidance_sharpens_it(decoder: Decoder) -> None:
    def drawn(told: Any, guidance: float = 1.0) -> Tensor:
        settings = ImagineSettings(steps=3, guidance=guidance)
        arguments = (decoder, views(), [BOX] * 3, [1], told, settings)
        return imagine(decoder.trio, *arguments).float()

    predicted, nothing = drawn("predicted"), drawn("nothing")
    assert not torch.equal(predicted, drawn("target"))
    assert not torch.equal(predicted, nothing)
    assert torch.equal(drawn("predicted", 0.0), nothing)
    farther = (drawn("predicted", 4.0) - nothing).abs().mean()
    assert farther > (predicted - nothing).abs().mean()


def test_controls_are_told_by_voices_of_their_own_if_it_has_learned_them(
    decoder: Decoder, model: str, tmp_path: Path
) -> None:
    assert decoder.untrained is None
    assert "has not learned to draw from true representations and untrained" in foreign_rows(
        decoder
    )
    told = ["predicted", "target", "untrained"]
    fair = open_decoder(str(write_decoder(tmp_path / "fair", model, told=told)), CPU, "fp32")
    assert foreign_rows(fair) == ""
    assert [fair.voice(source) for source in ("predicted", "target", "untrained")] == [0, 1, 2]
    rows = rows_of(fair, decoder.trio)
    assert rows["prediction of untrained networks"].trio.predictor is (
        fair.objective.untrained_predictor
    )
    drawn = {
        told: imagine(fair.trio, fair, views(), [BOX] * 3, [1], told, ImagineSettings(steps=3))
        for told in ("predicted", "untrained")
    }
    assert not torch.equal(drawn["predicted"], drawn["untrained"])  # same tokens, another voice


def test_the_whole_view_is_cut_to_the_box(model: str, tmp_path: Path) -> None:
    folder = write_decoder(tmp_path / "whole", model, decodes="view", size=16, condition="tokens")
    decoder = open_decoder(str(folder), CPU, "fp32")
    drawn = imagine(decoder.trio, decoder, views(), [(0, 8, 8, 16)] * 3, [1], settings=FEW)
    assert drawn.shape == (3, 1, 3, 8, 16)


def test_content_is_pasted_into_its_box() -> None:
    view = views(1)[0]
    changed = pasted(view, BOX, torch.full((3, 16, 16), 7, dtype=torch.uint8))
    assert (changed[:, 8:24, 8:24] == 7).all()
    changed[:, 8:24, 8:24] = view[:, 8:24, 8:24]
    assert torch.equal(changed, view)


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ([(24, 24, 16, 16)] * 3, "reaches outside of 32 x 32 pixels: move it"),
        ([(8, 8, 4, 16)] * 3, "smaller than a patch of 8 x 8 pixels: make it larger"),
        ([(8, 8, 12, 16)] * 3, "cuts patches of 8 x 8 pixels apart: give e.g."),
        ([(0, 0, 32, 32)] * 3, "the whole picture: leave something to be seen"),
        ([BOX], "1 boxes for 3 pictures: give one for each"),
        ([BOX, BOX, (0, 0, 8, 8)], "differ in size"),
    ],
)
def test_mistakes_with_boxes_are_told(decoder: Decoder, boxes: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        imagine(decoder.trio, decoder, views(), boxes, [1])


def test_a_box_that_hides_everything_is_refused_before_anything_is_drawn(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match=r"imagine.block=4 does not fit into a grid of 4 x 4"):
        box_sides((4, 4), ImagineSettings(block=4))
    with pytest.raises(ValueError, match="choose at most 3"):
        judge_scenes(decoder, decoder.trio, ImagineSettings(block=9))
    assert box_sides((4, 4), ImagineSettings(block=3)) == (3, 3)


def test_other_sizes_and_other_models_are_told(decoder: Decoder, model: str) -> None:
    small = views()[:, :, :24, :24]
    with pytest.raises(ValueError, match="decodes views of 32 x 32 pixels, and these have 24 x 24"):
        imagine(decoder.trio, decoder, small, [BOX] * 3, [1])
    with pytest.raises(ValueError, match="is no decoder: train one with"):
        open_decoder(model, CPU, "fp32")
    loaded = load_weights(model, CPU)
    check_same_model(decoder, loaded)
    assert loaded.predictor is not None
    with torch.no_grad():
        loaded.predictor.mask_token.add_(1)
    with pytest.raises(ValueError, match="whose weights are not those of"):
        check_same_model(decoder, loaded)


@pytest.mark.parametrize("how", HIDDEN)
def test_hidden_objects_lie_in_their_box_as_far_as_they_should(how: Any) -> None:
    source = ProceduralScenes(ProceduralScenes.Settings(num_pictures=20, size=(64, 64)))
    objects = list(hidden_objects(source, (8, 8), 3, how))
    assert len(objects) > 10
    for item in objects:
        assert item.box[2:] == (24, 24)
        assert all(side % 8 == 0 for side in item.box)
        assert 0 < min(item.centre) < max(item.centre) < 1
    again = next(iter(hidden_objects(source, (8, 8), 3, how)))
    assert again.box == objects[0].box


def test_the_judge_learns_colours_and_places_and_is_reproducible() -> None:
    source = ProceduralScenes(ProceduralScenes.Settings(num_pictures=330, size=(64, 64)))
    objects = list(hidden_objects(source, (8, 8), 3, "wholly"))
    learned, tested = objects[:-60], objects[-60:]
    judge = train_judge(learned)
    right = judge.answers(cut_outs(tested)).right(Answers.of(tested))
    assert right["colour"].float().mean() > 4 / len(COLOURS)
    assert right["place"].float().mean() > 0.5
    grey = judge.answers(torch.full((60, 3, 24, 24), 127, dtype=torch.uint8))
    assert grey.right(Answers.of(tested))["colour"].float().mean() < 2.5 / len(COLOURS)
    short = [train_judge(learned[:70], epochs=1).state_dict()["layers.0.weight"] for _ in range(2)]
    assert torch.equal(*short)


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    random = torch.Generator().manual_seed(0)
    cloud = torch.randn(4000, 3, generator=random)
    assert frechet(cloud, cloud) == pytest.approx(0, abs=1e-6)
    assert frechet(cloud, cloud + 2) == pytest.approx(12, rel=1e-4)
    expected = cloud.var(0).sum().item()  # tr(C + 4 C - 2 (2 C)) = tr C
    assert frechet(cloud - cloud.mean(0), 2 * (cloud - cloud.mean(0))) == pytest.approx(expected)


def test_scores_have_a_row_for_every_control(decoder: Decoder) -> None:
    few = ImagineSettings(steps=1, samples=2, pictures=4, block=2)
    told: list[tuple[int, int]] = []

    @contextmanager
    def counting(name: str) -> Iterator[Callable[[int, int], None]]:
        told.clear()
        yield lambda done, total: told.append((done, total))

    comparison = judge_scenes(decoder, decoder.trio, few, learned_on=20, counting=counting)
    assert told == [(done, 8) for done in range(9)]  # four rows, two ways of hiding
    assert list(comparison.scores) == [
        "prediction",
        "true representation",
        "prediction of untrained networks",
        "nothing but the place",
        "the real pixels",
    ]
    assert len(comparison.columns) == 6
    found = distances(decoder, decoder.trio, views(), BOX, few, counting)
    assert told == [(done, 4) for done in range(5)]
    assert all(numbers["feature_distance"] > 0 for numbers in found.values())
    assert all(numbers["frechet"] > 0 for numbers in found.values())
