"""Energy over pictures: where the model is surprised by what it finds."""

from __future__ import annotations

import numpy as np

from jepakit.runs.seeing.energy import Maps
from jepakit.runs.seeing.looking import Looking, Shown
from jepakit.visualization import Gallery, Picture
from jepakit.visualization.heat import draw_heat
from jepakit.visualization.tiles import (
    Tile,
    resize,
    sheet,
    side_by_side,
    tile_size,
    to_colour,
)

_OUTER = 0.02  # of the values lie beyond the darkest and the brightest colour, at each end


def show_energy(looking: Looking) -> Shown:
    """Original, energy, and energy beside what is usual at each place. `NotDrawn`."""
    trio, settings = looking.trio(), looking.settings.energy
    energy = trio.energy(looking.pictures, settings)
    maps, names = [energy], ["energy"]
    if settings.usual:
        usual = trio.energy(looking.others(settings.usual, "usual energy"), settings)
        maps.append(energy - usual.mean(axis=0))
        names.append("beside the usual of each place")
    strips = energy_strips(to_colour(looking.pictures), maps)
    columns = ("original", *names)
    gallery = Gallery(
        tuple(
            Picture(strip, f"picture {n}: {', '.join(columns)}", columns=columns)
            for n, strip in enumerate(strips, 1)
        ),
        heading="Surprise",
        caption="How far the prediction is from the truth at each place, predicted from everything "
        f"around it ({settings.distance}, averaged over the blocks that hide the place; the mean "
        f"is {energy.mean():.3f}). Bright is surprising.",
        narrowest=440,
    )
    per_picture = [float(mean) for mean in energy.mean(axis=(1, 2))]
    return Shown([gallery], {"energy": sheet(strips, columns)}, {"mean_per_picture": per_picture})


def energy_strips(originals: np.ndarray, maps: list[Maps], tile: int = 192) -> list[Tile]:
    """Per picture the original and its maps, each kind of map with one scale for all pictures."""
    size = tile_size((originals.shape[1], originals.shape[2]), tile=tile)
    bounds = [np.quantile(one, (_OUTER, 1 - _OUTER)) for one in maps]
    strips = []
    for n, picture in enumerate(originals):
        original = resize(picture, size)
        drawn = [draw_heat(original, m[n], *b) for m, b in zip(maps, bounds, strict=True)]
        strips.append(side_by_side([original, *drawn]))
    return strips
