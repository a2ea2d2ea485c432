"""Drawings of what a model sees and has learned, and the page that shows them."""

from jepakit.visualization.curves import draw_curves, read_metrics
from jepakit.visualization.feature_maps import (
    draw_feature_maps,
    feature_map_strips,
    token_colours,
)
from jepakit.visualization.masks import draw_masks, mask_strips
from jepakit.visualization.page import write_page
from jepakit.visualization.sections import Code, Facts, Film, Gallery, Picture, Section, Table, Text

__all__ = [
    "Code",
    "Facts",
    "Film",
    "Gallery",
    "Picture",
    "Section",
    "Table",
    "Text",
    "draw_curves",
    "draw_feature_maps",
    "draw_masks",
    "feature_map_strips",
    "mask_strips",
    "read_metrics",
    "token_colours",
    "write_page",
]
