"""CLEVR's rendered scenes, as they are downloaded: pictures with exact counts and distances."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from jepakit.data.sources.clevr_files import FEWEST, MOST, read_part
from jepakit.data.sources.decoding import Decoding, fingerprint_of_values
from jepakit.data.sources.folder_index import PackedNames
from jepakit.data.sources.source import Stored
from jepakit.data.sources.stored import StoredSource, names_and_sizes, read_file

# VTAB's buckets of the nearest object's depth; a depth on an edge belongs to the nearer bucket.
DISTANCE_EDGES = (8.0, 8.5, 9.0, 9.5, 10.0)

_COUNTS = tuple(str(count) for count in range(FEWEST, MOST + 1))
_DISTANCES = (
    f"up to {DISTANCE_EDGES[0]}",
    *(f"{near} to {far}" for near, far in pairwise(DISTANCE_EDGES)),
    f"beyond {DISTANCE_EDGES[-1]}",
)


class Clevr(StoredSource):
    """CLEVR in one of two layouts, told apart by what lies in the folder.

    CLEVR v1.0 is `images/<part>/*.png` with one `scenes/CLEVR_<part>_scenes.json` per part. Its
    tasks are VTAB's: `count`, the number of objects, and `distance`, the depth of the nearest
    object as the camera measures it, in six buckets. The part "test" was published without scenes
    and is unlabelled here; VTAB tests on "val".

    Views are `<part>/<count>/<scene>-<view>.png` with one `scenes/<scene>.json` per scene: one
    scene seen by several cameras. Where these stand is not recorded, and the depths in the files
    belong to yet another camera, so `count` is the only task.
    """

    class Settings(Decoding):
        """Where CLEVR lies, and which part of it is used."""

        kind: Literal["clevr"] = "clevr"
        path: Path = Field(description="folder with CLEVR's pictures and scenes")
        split: Literal["train", "val", "test"] = Field(
            default="train", description="part to use; CLEVR's own test part has no labels"
        )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        files = read_part(settings.path.expanduser(), settings.split)
        if not files.names:
            raise ValueError(f"{files.folder} holds no pictures: unpack CLEVR's pictures into it")
        self.folder = files.folder
        self._names = PackedNames(files.names)
        self._counts = np.array(files.counts, np.int64)
        self._depths = np.array(files.depths, np.float32)  # in which precision VTAB compares them
        self.classes = _COUNTS if files.counts else ()
        self.tasks = {
            **({"count": _COUNTS} if files.counts else {}),
            **({"distance": _DISTANCES} if files.depths else {}),
        }
        answers = self._counts.tobytes() + self._depths.tobytes()
        self._fingerprint = names_and_sizes(zip(files.names, files.sizes, strict=True), answers)

    def __len__(self) -> int:
        return len(self._names)

    def stored(self, index: int) -> Stored:
        name = self.name(index)
        return read_file(self.folder / name, name)

    def name(self, index: int) -> str:
        return self._names[index]

    def label(self, index: int) -> int:
        """The number of objects minus 3; -1 in a part without scenes."""
        return int(self._counts[index]) - FEWEST if self.classes else -1

    def labels(self, index: int) -> dict[str, int | float]:
        """Places in the classes of `tasks`; where depths are known also `nearest_distance`."""
        answers: dict[str, int | float] = {}
        if "count" in self.tasks:
            answers["count"] = self.label(index)
        if "distance" in self.tasks:
            nearest = float(self._depths[index])
            answers["distance"] = bisect_left(DISTANCE_EDGES, nearest)
            answers["nearest_distance"] = nearest
        return answers

    def fingerprint(self) -> str:
        """Changes with names, sizes of files and labels, not with where the folder is."""
        return fingerprint_of_values(self._fingerprint, self.settings)
