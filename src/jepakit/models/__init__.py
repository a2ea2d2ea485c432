"""The networks: an encoder that represents, a predictor that fills in."""

from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor
from jepakit.models.sizes import SIZES

__all__ = ["SIZES", "Encoder", "Predictor"]
