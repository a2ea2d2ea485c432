"""Whether what a decoder draws is right: judged on scenes, and by distances on photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.source import Box
from jepakit.evaluation.comparison import Comparison, tabulate
from jepakit.evaluation.judgement import Judgement
from jepakit.models.tokens import take_tokens
from jepakit.objectives.pixel_decoder import Heard
from jepakit.runs.prediction import patches_in
from jepakit.runs.seeing.decoder import Decoder
from jepakit.runs.seeing.energy import Trio
from jepakit.runs.seeing.hidden_objects import HIDDEN, HiddenObject, How, hidden_objects
from jepakit.runs.seeing.imagine import Told, box_sides, imagine, num_ticks, pasted
from jepakit.runs.seeing.imagine_settings import ImagineSettings
from jepakit.runs.seeing.judge import Answers, Judge, cut_outs, train_judge
from jepakit.runs.seeing.looking import Counting, ticking, uncounted

_LEARNED_ON = 2_000_000  # number of the judge's first scene
_JUDGED_ON = 1_000_000
_NUM_LEARNED = 2000  # scenes per way of hiding
REAL = "the real pixels"


@dataclass(frozen=True)
class Source:
    """One row of the table: what the decoder is told, and by whose networks."""

    trio: Trio
    told: Told


def rows_of(decoder: Decoder, untrained: Trio) -> dict[str, Source]:
    """The prediction and its three controls; of untrained networks those that it knows, if any."""
    return {
        "prediction": Source(decoder.trio, "predicted"),
        "true representation": Source(decoder.trio, "target"),
        "prediction of untrained networks": Source(decoder.untrained or untrained, "untrained"),
        "nothing but the place": Source(decoder.trio, "nothing"),
    }


def foreign_rows(decoder: Decoder) -> str:
    """A sentence on rows that the decoder was not trained on; empty if it was on all."""
    told: dict[Heard, str] = {
        "predicted": "predictions",
        "target": "true representations",
        "untrained": "untrained networks' predictions",
    }
    foreign = " and ".join(name for source, name in told.items() if not decoder.knows(source))
    if not foreign:
        return ""
    return (
        f"The decoder has not learned to draw from {foreign}: that it draws worse from them may be "
        "its own doing (objective.told=[predicted,target,untrained] trains one that compares them "
        "fairly). "
    )


def judge_scenes(
    decoder: Decoder,
    untrained: Trio,
    settings: ImagineSettings,
    learned_on: int = _NUM_LEARNED,
    counting: Counting = uncounted,
) -> Comparison:
    """Shares of samples with the right colour, shape and place, by a judge trained on scenes.

    The objects are hidden wholly or in part; the last row, what the judge says of the real pixels,
    is the most that can be reached. Samples of one scene are averaged before the bootstrap.
    """
    trio = decoder.trio
    if trio.target_encoder.num_channels != 3:
        raise ValueError(
            f"scenes have 3 channels, and {decoder.name} draws {trio.target_encoder.num_channels}: "
            "name pictures with --data"
        )
    grid = trio.target_encoder.rows_and_columns(*decoder.loaded.size)
    side = min(box_sides(grid, settings))
    learned = _scenes(decoder, _LEARNED_ON, learned_on)
    with counting("training the judge") as count:
        objects = [o for how in HIDDEN for o in hidden_objects(learned, grid, side, how)]
        judge = train_judge(objects, count=count)
    tested = _scenes(decoder, _JUDGED_ON, 4 * settings.pictures)
    found = {
        how: list(islice(hidden_objects(tested, grid, side, how), settings.pictures))
        for how in HIDDEN
    }
    most = min(map(len, found.values()))
    if not most:
        raise ValueError(
            f"no object of {4 * settings.pictures} scenes is hidden by a box of {side} x {side} "
            f"patches of a grid of {grid[0]} x {grid[1]}: set imagine.block to another number"
        )
    found = {how: objects[:most] for how, objects in found.items()}
    marks, rows = {}, rows_of(decoder, untrained)
    ticks = len(rows) * len(found) * num_ticks(most, settings.samples)
    with counting("samples") as count:
        tick = ticking(count, ticks)
        for name, source in rows.items():
            marks[name] = _marks(decoder, source, found, judge, settings, tick)
    marks[REAL] = {
        f"{question}/{how} hidden": right.float()
        for how, objects in found.items()
        for question, right in judge.answers(cut_outs(objects)).right(Answers.of(objects)).items()
    }
    return tabulate({name: Judgement(found, {}) for name, found in marks.items()})


def _scenes(decoder: Decoder, first: int, number: int) -> ProceduralScenes:
    settings = ProceduralScenes.Settings(size=decoder.loaded.size, first=first, num_pictures=number)
    return ProceduralScenes(settings)


def _marks(
    decoder: Decoder,
    source: Source,
    found: Mapping[How, Sequence[HiddenObject]],
    judge: Judge,
    settings: ImagineSettings,
    tick: Callable[[], None],
) -> dict[str, Float[Tensor, " B"]]:
    """By question and way of hiding: the share of each scene's samples that are right."""
    marks = {}
    for how, objects in found.items():
        views = torch.stack([torch.from_numpy(o.picture).permute(2, 0, 1) for o in objects])
        boxes, seeds = [o.box for o in objects], range(settings.samples)
        drawn = imagine(source.trio, decoder, views, boxes, seeds, source.told, settings, tick)
        said = judge.answers(drawn.flatten(0, 1))
        truth = Answers.of([o for o in objects for _ in seeds])
        for question, right in said.right(truth).items():
            marks[f"{question}/{how} hidden"] = right.float().unflatten(0, (-1, len(seeds))).mean(1)
    return marks


def distances(
    decoder: Decoder,
    untrained: Trio,
    views: UInt8[Tensor, "B C H W"],
    box: Box,
    settings: ImagineSettings,
    counting: Counting = uncounted,
) -> dict[str, dict[str, float]]:
    """How far drawn boxes are from real ones, in features of the frozen target encoder.

    `feature_distance`: 1 - cosine of the box's pooled tokens, before and after the content was
    replaced, averaged over pictures and samples. `frechet`: distance of the two clouds of these
    features, as Gaussians (FID's formula), with the first sample of each picture.
    """
    real = _features(decoder, views, box)
    found, rows = {}, rows_of(decoder, untrained)
    boxes, seeds = [box] * len(views), range(settings.samples)
    with counting("samples") as count:
        tick = ticking(count, len(rows) * num_ticks(len(boxes), len(seeds)))
        for name, source in rows.items():
            drawn = imagine(source.trio, decoder, views, boxes, seeds, source.told, settings, tick)
            seen = [_features(decoder, _all_pasted(views, box, drawn[:, n]), box) for n in seeds]
            apart = [1 - F.cosine_similarity(real, features, dim=1).mean() for features in seen]
            found[name] = {
                "feature_distance": torch.stack(apart).mean().item(),
                "frechet": frechet(real, seen[0]),
            }
    return found


def frechet(one: Float[Tensor, "A D"], other: Float[Tensor, "B D"]) -> float:
    """|m - n|² + tr(C + E - 2 (C E)^½) of two clouds' means m, n and covariances C, E."""
    one, other = one.double(), other.double()
    first, second = torch.cov(one.T), torch.cov(other.T)
    root = _root(first)
    mixed = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    apart = (one.mean(0) - other.mean(0)).square().sum()
    return float(apart + first.trace() + second.trace() - 2 * mixed)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T


def _all_pasted(views: Tensor, box: Box, contents: Tensor) -> Tensor:
    return torch.stack([pasted(v, box, c) for v, c in zip(views, contents, strict=True)])


def _features(decoder: Decoder, views: Tensor, box: Box) -> Float[Tensor, "B D"]:
    """The average of the box's tokens."""
    encoder = decoder.trio.target_encoder
    grid = encoder.rows_and_columns(*views.shape[-2:])
    inside = torch.from_numpy(patches_in(box, encoder.patch, grid, "box")).flatten().nonzero()
    parts = []
    for chunk in views.split(64):
        tokens = decoder.trio.truth(chunk)
        chosen = inside.flatten().to(tokens.device).expand(len(chunk), -1)
        parts.append(take_tokens(tokens, chosen).mean(dim=1).cpu())
    return torch.cat(parts)
