"""The pictures that a model is shown: those that are named, or a run's own."""

from __future__ import annotations

from jepakit.data.sources import Source
from jepakit.runs.given_pictures import Values, open_given
from jepakit.runs.loaded import Loaded
from jepakit.runs.own_pictures import shown_pictures


def pictures_to_show(
    loaded: Loaded, data: str | None, values: Values | None = None, split: str | None = None
) -> Source:
    """Those of `data`, its held-out part where there is one; without it a run's held-out ones.

    `values` become black and white: without them those that did in the run's training.
    Raises `ValueError` if they do not fit the model or there are none, and `PicturesGone`.
    """
    channels = loaded.encoder.num_channels
    if data is not None:
        parts = open_given(data, channels, values, split, loaded.values)
        source = list(parts.values())[-1]
    elif loaded.config is not None:
        source = shown_pictures(loaded.config)
    else:
        raise ValueError(f"name pictures for {loaded.name}: --data PICTURES, e.g. --data scenes")
    if not len(source):
        raise ValueError(f"{data} holds no picture: name a folder with pictures")
    if source.num_channels != channels:
        raise ValueError(
            f"{loaded.name} takes pictures of {channels} channels, these have "
            f"{source.num_channels}: name others with --data"
        )
    return source
