"""Energy is the distance that `Model.predict` gives, averaged over the blocks that hide a place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jepakit.runs.model import Model
from jepakit.runs.seeing.energy import EnergySettings, Trio, hidden_blocks


def trio_of(model: Model) -> Trio:
    loaded = model.loaded
    assert loaded.context_encoder is not None
    assert loaded.target_encoder is not None
    assert loaded.predictor is not None
    return Trio(
        loaded.context_encoder,
        loaded.target_encoder,
        loaded.predictor,
        loaded.normalise,
        torch.device("cpu"),
        "fp32",
    )


@pytest.mark.parametrize(
    ("grid", "sides", "most"),
    [((8, 8), None, 64), ((14, 16), 5, 9), ((3, 3), 3, 4), ((2, 9), 1, 5)],
)
def test_blocks_hide_every_place_and_never_everything(
    grid: tuple[int, int], sides: int | None, most: int
) -> None:
    blocks = list(hidden_blocks(grid, sides, most))
    assert set(torch.cat(blocks).tolist()) == set(range(grid[0] * grid[1]))
    assert len({len(block) for block in blocks}) == 1
    assert all(0 < len(block) < grid[0] * grid[1] for block in blocks)
    assert len({tuple(block.tolist()) for block in blocks}) == len(blocks)


def test_fewer_blocks_where_few_are_asked_for() -> None:
    assert len(list(hidden_blocks((16, 16), 5, 200))) == 144
    assert len(list(hidden_blocks((16, 16), 5, 40))) <= 40


@pytest.mark.parametrize("distance", ["smooth_l1", "l2"])
def test_energy_is_the_mean_over_all_blocks_that_hide_a_place(
    distance: str, model: Model, home: Path
) -> None:
    names = [home / "pictures" / "cat.png", home / "pictures" / "dog.png"]
    total, count = np.zeros((2, 4, 4)), np.zeros((4, 4))
    for row in range(3):
        for column in range(3):
            box = (8 * row, 8 * column, 16, 16)
            found = model.predict(names, target=box, distance=distance)  # type: ignore[arg-type]
            total[:, row : row + 2, column : column + 2] += found.energy
            count[row : row + 2, column : column + 2] += 1
    views = torch.from_numpy(model.views(names)).permute(0, 3, 1, 2)
    settings = EnergySettings(block=2, distance=distance)  # type: ignore[arg-type]
    energy = trio_of(model).energy(views, settings)
    np.testing.assert_allclose(energy, total / count, rtol=1e-5)


def test_many_pictures_give_what_each_gives_alone(model: Model) -> None:
    random = torch.Generator().manual_seed(0)
    views = torch.randint(256, (70, 3, 32, 32), generator=random, dtype=torch.uint8)
    settings = EnergySettings(block=3, masks=4, distance="cosine")
    trio = trio_of(model)
    together = trio.energy(views, settings)
    np.testing.assert_allclose(together[68:69], trio.energy(views[68:69], settings), atol=1e-5)
    assert (together >= 0).all()
