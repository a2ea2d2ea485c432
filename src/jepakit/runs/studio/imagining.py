"""What a decoder adds to the studio: pictures of what the predictor expects in the hidden box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from jepakit.data.sources.source import Box
from jepakit.runs.seeing.decoder import check_same_model, check_same_size, open_decoder
from jepakit.runs.seeing.imagine import imagine, pasted
from jepakit.runs.seeing.looking import Looking
from jepakit.visualization.tiles import to_colour

# (views 1 C H W, box in pixels, seeds) -> one picture S H W 3 per seed, the box's content imagined.
Imagine = Callable[[UInt8[Tensor, "1 C H W"], Box, Sequence[int]], UInt8[np.ndarray, "S H W 3"]]


def open_imagine(name: str, looking: Looking) -> Imagine:
    """What a decoder's run draws of this model's predictions.

    `ValueError` if it was trained on another model, or on views of another size.
    """
    decoder = open_decoder(name, looking.device, looking.precision)
    check_same_model(decoder, looking.loaded)
    check_same_size(decoder, looking.size)
    trio, settings = looking.trio(), looking.settings.imagine

    def imagined(
        views: UInt8[Tensor, "1 C H W"], box: Box, seeds: Sequence[int]
    ) -> UInt8[np.ndarray, "S H W 3"]:
        samples = imagine(trio, decoder, views, [box], seeds, settings=settings)[0]
        return to_colour(torch.stack([pasted(views[0], box, one) for one in samples]))

    return imagined
