"""What the model expects in a hidden block, shown by real blocks of other pictures: no decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from jepakit.evaluation.comparison import Comparison, tabulate
from jepakit.evaluation.judgement import Judgement
from jepakit.models.positions import Grid
from jepakit.runs.seeing.energy import Trio, hidden_blocks
from jepakit.runs.seeing.looking import Looking, Shown
from jepakit.runs.seeing.untrained import untrained_trio
from jepakit.visualization import Gallery, Picture, Text
from jepakit.visualization.heat import frame_patches
from jepakit.visualization.tiles import (
    Tile,
    resize,
    sheet,
    side_by_side,
    stacked,
    tile_size,
    to_colour,
)

_PLACES = 16  # blocks per gallery picture, about
_NEARER = "nearer than others"


@dataclass(frozen=True)
class Retrieved:
    """Of each query, the nearest gallery blocks, as (picture, tokens) pairs, best first."""

    to_prediction: list[list[tuple[int, Int[Tensor, " L"]]]]
    to_truth: list[list[tuple[int, Int[Tensor, " L"]]]]
    beaten: Float[
        np.ndarray, " B"
    ]  # share of others' blocks farther from the prediction than its own


def show_retrieval(looking: Looking) -> Shown:
    """Two strips per picture: nearest to the prediction, nearest to the truth. `NotDrawn`."""
    trio, settings = looking.trio(), looking.settings.retrieval
    hidden = _hidden(looking.grid, settings.block, settings.corner)
    gallery, judged = _gallery_and_judged(looking)
    found = retrieve(trio, judged, gallery, hidden, looking.grid, settings.neighbours)
    sheets = _sheets(looking, gallery, hidden, found)
    columns = ("hidden / seen", *(f"nearest {n + 1}" for n in range(settings.neighbours)))
    drawn = Gallery(
        tuple(
            Picture(
                sheet,
                f"picture {n}: above, blocks nearest to the prediction; below, to the truth",
                columns=columns,
            )
            for n, sheet in enumerate(sheets, 1)
        ),
        heading="What the model expects in a hidden block",
        caption=f"Above: the blocks of a gallery of {len(gallery)} pictures whose "
        "representations are nearest to what the predictor expects in the hidden block. Below: the "
        "nearest to what is really there.",
        narrowest=520,
    )
    table = _beside_untrained(looking, found, judged, gallery, hidden)
    own, control = (scores[_NEARER] for scores in table.scores.values())
    words = Text(
        f"The true content of the hidden block is nearer to the prediction than {own} % of the "
        f"blocks that other pictures hold at that place; to that of untrained networks, {control} "
        f"%. 50 % is chance; {table.num_pictures} pictures, 95 % bootstrap intervals.",
        tone="good" if own.low > max(0.5, control.value) else "warning",
    )
    numbers = {
        "nearer_than_others": table.model_dump(mode="json")["scores"],
        "per_picture": found.beaten[: len(looking.pictures)].tolist(),
    }
    return Shown([drawn, words], {"retrieval": sheet(sheets, columns)}, numbers)


def _gallery_and_judged(
    looking: Looking,
) -> tuple[UInt8[Tensor, "G C H W"], UInt8[Tensor, "J C H W"]]:
    """Pictures whose blocks are looked through; the drawn ones, and others to judge by."""
    settings = looking.settings.retrieval
    others = looking.others(settings.gallery + settings.judged, "gallery")
    num_judged = min(settings.judged, len(others) // 5)
    first = len(others) - num_judged
    return others[: min(first, settings.gallery)], torch.cat([looking.pictures, others[first:]])


def _beside_untrained(
    looking: Looking,
    found: Retrieved,
    judged: UInt8[Tensor, "J C H W"],
    gallery: UInt8[Tensor, "G C H W"],
    hidden: Int[Tensor, " L"],
) -> Comparison:
    """How often the truth is nearer to the prediction than what others hold there, by networks."""
    control = retrieve(untrained_trio(looking), judged, gallery, hidden, looking.grid, 1)
    beaten = {"prediction": found.beaten, "untrained networks": control.beaten}
    return tabulate({n: Judgement({_NEARER: torch.from_numpy(b)}, {}) for n, b in beaten.items()})


def retrieve(
    trio: Trio,
    queries: UInt8[Tensor, "B C H W"],
    gallery: UInt8[Tensor, "G C H W"],
    hidden: Int[Tensor, " L"],
    grid: Grid,
    num: int,
) -> Retrieved:
    """Compare blocks by the cosine of all their tokens, after taking each place's mean away."""
    encoded = EncodedGallery.of(trio, gallery)
    chunks = queries.split(64)
    predicted = torch.cat([trio.predicted(chunk, hidden) for chunk in chunks])
    truth = torch.cat([trio.truth(chunk)[:, hidden] for chunk in chunks])
    return retrieve_among(encoded, predicted, truth, hidden, grid, num)


@dataclass(frozen=True)
class EncodedGallery:
    """Representations of all gallery pictures, on the CPU: made once, whatever is hidden."""

    mean: Float[Tensor, "N D"]
    centred: Float[Tensor, "G N D"]  # the place's mean taken away
    squares: Float[Tensor, "G N"]  # squared lengths

    @staticmethod
    def of(trio: Trio, gallery: UInt8[Tensor, "G C H W"]) -> EncodedGallery:
        """Encode the pictures."""
        tokens = torch.cat([trio.truth(chunk).cpu() for chunk in gallery.split(64)])
        mean = tokens.mean(dim=0)
        centred = tokens - mean
        return EncodedGallery(mean, centred, centred.square().sum(dim=-1))


def retrieve_among(
    gallery: EncodedGallery,
    predicted: Float[Tensor, "B L D"],
    truth: Float[Tensor, "B L D"],
    hidden: Int[Tensor, " L"],
    grid: Grid,
    num: int,
) -> Retrieved:
    """What `retrieve` does, of what was encoded and predicted before."""
    usual = gallery.mean[hidden]
    predicted, truth = ((one.cpu() - usual).flatten(1) for one in (predicted, truth))
    places = _places(hidden, grid)
    to_prediction, to_truth = _cosines(torch.stack([predicted, truth]), gallery, places)
    own = F.cosine_similarity(predicted, truth)
    return Retrieved(
        _named(to_prediction, places, num),
        _named(to_truth, places, num),
        (to_prediction[:, 0] < own[:, None]).float().mean(dim=1).numpy(),
    )


def _places(hidden: Int[Tensor, " L"], grid: Grid) -> list[Int[Tensor, " L"]]:
    """Where blocks of the gallery lie: first at the hidden place itself."""
    columns = len(set((hidden % grid[1]).tolist()))
    others = hidden_blocks(grid, (len(hidden) // columns, columns), _PLACES)
    return [hidden, *(place for place in others if not torch.equal(place, hidden))]


def _cosines(
    queries: Float[Tensor, "K B LD"],
    gallery: EncodedGallery,
    places: Sequence[Int[Tensor, " L"]],
) -> Float[Tensor, "K B P G"]:
    """Of each query with the block of every picture at every place, the place's mean taken away."""
    directions = F.normalize(queries, dim=-1)
    found = []
    for place in places:
        lengths = gallery.squares[:, place].sum(dim=1).sqrt().clamp_min(1e-12)
        found.append(directions @ gallery.centred[:, place].flatten(1).T / lengths)
    return torch.stack(found, dim=2)


def _named(
    cosines: Float[Tensor, "B P G"], places: Sequence[Int[Tensor, " L"]], num: int
) -> list[list[tuple[int, Int[Tensor, " L"]]]]:
    """The nearest blocks, at most one of each picture: neighbours overlap."""
    best = cosines.max(dim=1)
    nearest = best.values.topk(min(num, best.values.shape[1]), dim=1).indices
    return [
        [(int(picture), places[int(best.indices[n, picture])]) for picture in row]
        for n, row in enumerate(nearest)
    ]


def _hidden(grid: Grid, side: int | None, corner: tuple[int, int] | None) -> Int[Tensor, " L"]:
    """The hidden block's places. `ValueError` if it does not lie inside the grid."""
    height, width = (side or max(1, round(n / 3)) for n in grid)
    if height >= grid[0] or width >= grid[1]:
        raise ValueError(
            f"retrieval.block={side} hides the whole grid of {grid[0]} x {grid[1]} patches: choose "
            f"at most {min(grid) - 1}"
        )
    top, left = corner or ((grid[0] - height) // 2, (grid[1] - width) // 2)
    if not (0 <= top <= grid[0] - height and 0 <= left <= grid[1] - width):
        raise ValueError(
            f"retrieval.corner={[top, left]} puts the block outside of the grid: rows go to "
            f"{grid[0] - height}, columns to {grid[1] - width}"
        )
    places = torch.arange(grid[0] * grid[1]).view(grid)
    return places[top : top + height, left : left + width].flatten()


def _sheets(
    looking: Looking, gallery: Tensor, hidden: Int[Tensor, " L"], found: Retrieved
) -> list[Tile]:
    size, grid = tile_size((looking.size[0], looking.size[1]), tile=128), looking.grid
    inside = torch.zeros(grid[0] * grid[1], dtype=torch.bool)
    inside[hidden] = True
    marks = inside.view(grid).numpy()
    pictures = to_colour(gallery)
    sheets = []
    for n, picture in enumerate(to_colour(looking.pictures)):
        original = resize(picture, size)
        seen, known = covered(original, marks), frame_patches(original, marks)
        rows = []
        for begin, near in ((seen, found.to_prediction[n]), (known, found.to_truth[n])):
            crops = [crop_block(pictures[place], tokens, grid, size) for place, tokens in near]
            rows.append(side_by_side([begin, *crops]))
        sheets.append(stacked(rows))
    return sheets


def covered(picture: Tile, marks: Bool[np.ndarray, "rows columns"]) -> Tile:
    """The picture with the hidden block black and framed."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * marks.shape[0] // height
    columns = np.arange(width) * marks.shape[1] // width
    dark = np.where(marks[rows][:, columns][..., None], 20, picture).astype(np.uint8)
    return frame_patches(dark, marks)


def crop_block(picture: Tile, tokens: Int[Tensor, " L"], grid: Grid, size: Sequence[int]) -> Tile:
    """The pixels of a block, as large as a tile."""
    height, width = picture.shape[0] // grid[0], picture.shape[1] // grid[1]
    rows, columns = tokens // grid[1], tokens % grid[1]
    top, left = int(rows.min()) * height, int(columns.min()) * width
    bottom, right = (int(rows.max()) + 1) * height, (int(columns.max()) + 1) * width
    return resize(np.ascontiguousarray(picture[top:bottom, left:right]), (size[0], size[1]))
