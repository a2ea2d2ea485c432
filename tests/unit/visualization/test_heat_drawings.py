"""Heat over pictures: ordered by brightness, scaled as asked, frames where they belong."""

import numpy as np

from jepakit.visualization.heat import draw_heat, frame_patches, heat_colours


def test_more_is_brighter() -> None:
    colours = heat_colours(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(colours) > 0).all()
    assert np.array_equal(heat_colours(np.array([-1.0, 2.0])), heat_colours(np.array([0.0, 1.0])))
    assert heat_colours(np.array([np.nan])).tolist() == [[128.0] * 3]


def test_the_map_is_stretched_over_the_tile() -> None:
    grey = np.full((8, 12, 3), 100, np.uint8)
    values = np.array([[1.0, 3.0]])
    drawn = draw_heat(grey, values, 1.0, 3.0, over=0.0, smooth=False)
    assert drawn.shape == grey.shape
    assert np.array_equal(drawn[0, 0], heat_colours(np.array(0.0)).round())
    assert np.array_equal(drawn[-1, -1], heat_colours(np.array(1.0)).round())
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2
    assert np.array_equal(draw_heat(grey, values, 1.0, 3.0, over=1.0), grey)
    flat = draw_heat(grey, np.ones((1, 2)), 1.0, 1.0)
    assert np.isfinite(flat).all()


def test_only_the_rim_of_chosen_patches_changes() -> None:
    grey = np.full((40, 40, 3), 100, np.uint8)
    chosen = np.zeros((4, 4), bool)
    chosen[1:3, 2] = True
    framed = frame_patches(grey, chosen)
    changed = (framed != grey).any(axis=2)
    assert changed[10:30, 20:30].any()
    assert not changed[13:27, 23:27].any()
    outside = changed.copy()
    outside[10:30, 20:30] = False
    assert not outside.any()
