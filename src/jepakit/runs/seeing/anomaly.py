"""Whether energy finds what is wrong in a scene: AUROC over places, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.evaluation.comparison import Comparison, tabulate
from jepakit.evaluation.judgement import Judgement
from jepakit.models.positions import Grid
from jepakit.runs.seeing.energy import Maps
from jepakit.runs.seeing.looking import Looking, NotDrawn, Shown, ticking
from jepakit.runs.seeing.planting import KINDS, Planted, plant
from jepakit.runs.seeing.untrained import untrained_trio
from jepakit.visualization import Gallery, Picture, Section, Table, Text
from jepakit.visualization.heat import draw_heat, frame_patches
from jepakit.visualization.tiles import resize, sheet, side_by_side, tile_size

SAME_PLACE = "/same place"
_DRAWN = 2  # scenes of each kind
_DRAWN_COLUMNS = ("scene", "with anomaly", "energy before", "energy after")
_OUTER = 0.02  # of the values lie beyond the darkest and the brightest colour, at each end
Views = UInt8[Tensor, "B C H W"]
Rows = Mapping[str, Callable[[Views], Maps]]


@dataclass(frozen=True)
class Anomalies:
    """Planted scenes by kind, usual scenes, and the table of AUROCs."""

    planted: Mapping[str, Sequence[Planted]]
    usual: Views
    comparison: Comparison


def show_anomaly(looking: Looking) -> Shown:
    """The table of AUROCs, and some scenes with their energy before and after. `NotDrawn`."""
    found = measure_anomalies(looking)
    comparison = found.comparison
    model = next(iter(comparison.scores))
    columns = comparison.columns
    rows = tuple(
        (row, *(str(scores[column]) for column in columns))
        for row, scores in comparison.scores.items()
    )
    table = Table(
        ("AUROC, %", *(column.replace("/", ", ") for column in columns)),
        rows,
        heading="Does surprise find what is wrong?",
        caption="How often an altered place has more energy than an untouched place of the same "
        "scene, and (same place) more than it had before it was altered; 50 is chance. "
        f"{comparison.num_pictures} scenes per kind, 95 % bootstrap intervals. The controls: the "
        "same networks with random weights; how far a patch's mean colour is from its neighbours'; "
        "and how much colours jump at a patch's edges, which sees any patch that was cut out.",
    )
    verdict = "; ".join(
        f"{column.replace('/', ', ')} {100 * comparison.value(model, column):.1f} % "
        f"({100 * comparison.margin(model, column).value:+.1f} against the best control)"
        for column in columns
    )
    good = all(comparison.margin(model, column).low > 0 for column in columns)
    words = Text(f"{verdict}.", tone="good" if good else "warning")
    strips = _all_strips(looking, found)
    sections: list[Section] = [table, words, _drawn(strips)]
    sheets = {"anomaly": sheet(list(strips.values()), _DRAWN_COLUMNS)}
    return Shown(sections, sheets, {"auroc": comparison.model_dump(mode="json")["scores"]})


def measure_anomalies(looking: Looking) -> Anomalies:
    """AUROC of the model, of an untrained twin, and of pixels, on the same planted scenes.

    `NotDrawn` if the model cannot predict, or does not take pictures of three channels.
    """
    trio, settings = looking.trio(), looking.settings
    if looking.loaded.encoder.num_channels != 3:
        raise NotDrawn(
            f"{looking.loaded.name} takes {looking.loaded.encoder.num_channels} channels, and "
            "scenes have 3: leave out anomaly"
        )
    num_usual = settings.energy.usual if settings.anomaly.normalise == "place" else 0
    source = ProceduralScenes(
        ProceduralScenes.Settings(
            size=looking.size,
            first=settings.anomaly.first,
            num_pictures=settings.anomaly.pictures + num_usual,
        )
    )
    grid, number = looking.grid, settings.anomaly.pictures
    planted = {kind: [plant(kind, source, n, grid) for n in range(number)] for kind in KINDS}
    usual = _views([source.sample(n).picture for n in range(number, len(source))])
    random = untrained_trio(looking)
    rows: Rows = {
        "energy": lambda views: trio.energy(views, settings.energy),
        "energy, random networks": lambda views: random.energy(views, settings.energy),
        "pixels: colour against neighbours": lambda views: colour_contrast(views, grid),
        "pixels: seams": lambda views: seams(views, grid),
    }
    with looking.counting("energy of scenes") as count:
        calls = len(rows) * (1 + len(KINDS) + bool(num_usual))
        looks = _counted(rows, ticking(count, calls))
        judged = {name: _judge(energy, planted, usual) for name, energy in looks.items()}
    return Anomalies(planted, usual, tabulate(judged))


def _counted(rows: Rows, tick: Callable[[], None]) -> Rows:
    """The rows, each call of which is counted."""

    def counted(energy: Callable[[Views], Maps]) -> Callable[[Views], Maps]:
        def look(views: Views) -> Maps:
            maps = energy(views)
            tick()
            return maps

        return look

    return {name: counted(energy) for name, energy in rows.items()}


def _judge(
    energy: Callable[[Views], Maps], planted: Mapping[str, Sequence[Planted]], usual: Views
) -> Judgement:
    """Per scene and kind: AUROC over its places, and whether energy rose where it was altered."""
    level = energy(usual).mean(axis=0) if len(usual) else 0.0
    scenes = next(iter(planted.values()))
    before = energy(_views([scene.original for scene in scenes])) - level  # the same for all kinds
    marks = {}
    for kind, scenes in planted.items():
        after = energy(_views([scene.picture for scene in scenes])) - level
        whole = zip(before, after, scenes, strict=True)
        pairs = [
            (auroc(now[s.altered], now[s.untouched]), risen(now[s.altered], then[s.altered]))
            for then, now, s in whole
        ]
        marks[kind], marks[f"{kind}{SAME_PLACE}"] = torch.tensor(pairs).T
    return Judgement(marks, {})


def risen(now: Float[np.ndarray, " P"], before: Float[np.ndarray, " P"]) -> float:
    """The share of places that have more than before; equal counts half."""
    return float((now > before).mean() + 0.5 * (now == before).mean())


def auroc(altered: Float[np.ndarray, " P"], untouched: Float[np.ndarray, " Q"]) -> float:
    """The share of pairs in which the altered place has more energy; ties count half."""
    more = (altered[:, None] > untouched).mean()
    return float(more + 0.5 * (altered[:, None] == untouched).mean())


def _views(pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> Views:
    if not pictures:
        return torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _drawn(strips: Mapping[str, np.ndarray]) -> Section:
    pictures = [
        Picture(
            strip,
            f"{kind}: {', '.join(_DRAWN_COLUMNS)}",
            caption=kind.split(",")[0],
            columns=_DRAWN_COLUMNS,
        )
        for kind, strip in strips.items()
    ]
    caption = "The framed places were changed; one scale of energy per scene."
    return Gallery(tuple(pictures), caption=caption, narrowest=520)


def _all_strips(looking: Looking, found: Anomalies) -> dict[str, np.ndarray]:
    trio, settings = looking.trio(), looking.settings.energy
    level = trio.energy(found.usual, settings).mean(axis=0) if len(found.usual) else 0.0
    size = tile_size((looking.size[0], looking.size[1]), looking.grid, 160)
    strips = {}
    for kind, scenes in found.planted.items():
        for n, scene in enumerate(scenes[:_DRAWN]):
            before, after = trio.energy(_views([scene.original, scene.picture]), settings) - level
            low, high = np.quantile(np.stack([before, after]), (_OUTER, 1 - _OUTER))
            original, picture = resize(scene.original, size), resize(scene.picture, size)
            marks: Bool[np.ndarray, "rows columns"] = scene.altered
            heats = [draw_heat(original, before, low, high), draw_heat(picture, after, low, high)]
            framed = [frame_patches(tile, marks) for tile in (picture, *heats)]
            strips[f"{kind}, scene {n + 1}"] = side_by_side([original, *framed])
    return strips


def colour_contrast(views: UInt8[Tensor, "B C H W"], grid: Grid) -> Maps:
    """How far each patch's mean colour is from the mean of its neighbours: no network at all."""
    cells = _cells(views, grid).mean(axis=(3, 5))  # B C rows columns
    padded = np.pad(cells, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    rows, columns = grid
    around = [
        padded[:, :, down : down + rows, right : right + columns]
        for down in range(3)
        for right in range(3)
        if (down, right) != (1, 1)
    ]
    return np.linalg.norm(cells - np.nanmean(np.stack(around), axis=0), axis=1)


def seams(views: UInt8[Tensor, "B C H W"], grid: Grid) -> Maps:
    """How much colours jump across the edges of each patch: it sees where patches were cut."""
    cells = _cells(views, grid)  # B C rows height columns width
    down = np.abs(cells[:, :, 1:, 0] - cells[:, :, :-1, -1]).mean(axis=(1, 4))
    across = np.abs(cells[..., 1:, 0] - cells[..., :-1, -1]).mean(axis=(1, 3))
    sides = [
        np.pad(down, ((0, 0), (1, 0), (0, 0)), constant_values=np.nan),
        np.pad(down, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan),
        np.pad(across, ((0, 0), (0, 0), (1, 0)), constant_values=np.nan),
        np.pad(across, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan),
    ]
    return np.nanmean(np.stack(sides), axis=0)


def _cells(views: UInt8[Tensor, "B C H W"], grid: Grid) -> np.ndarray:
    pixels = views.cpu().numpy().astype(np.float32)
    num, channels, height, width = pixels.shape
    return pixels.reshape(num, channels, grid[0], height // grid[0], grid[1], width // grid[1])
