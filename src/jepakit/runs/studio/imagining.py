"""What a decoder adds to the studio: pictures of what the predictor expects in the hidden box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from jepakit.data.sources.source import Box

# (views 1 C H W, box in pixels, seeds) -> one picture S H W 3 per seed, the box's content imagined.
Imagine = Callable[[UInt8[Tensor, "1 C H W"], Box, Sequence[int]], UInt8[np.ndarray, "S H W 3"]]
SEEDS = (0, 1, 2, 3)
