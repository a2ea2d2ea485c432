"""Where the pictures of a tar file lie, with their labels: built once from its headers."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jepakit.core.files import written_whole

_VERSION = 1
_DAMAGES = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class TarIndex:
    """The pictures of one tar file, in the order in which they are numbered.

    `names` are unique paths like "train/n01440764/x.JPEG" and `suffixes` tell the kinds of file
    in lower case. A label is a place in the dataset's classes, and -1 is unlabelled.
    """

    names: list[str]
    suffixes: list[str]
    offsets: Int[np.ndarray, " N"]  # of the content within the tar, bytes
    sizes: Int[np.ndarray, " N"]  # of the content, bytes
    labels: Int[np.ndarray, " N"]
    # Further tasks (integers) and quantities (floats) by name, one value per picture.
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # of a tar that names them itself; empty = the dataset's
    num_ignored: int = 0  # members that are no pictures and do not describe one
    tar_bytes: int = 0  # of the whole tar, to notice that it is another one; 0 = not known

    def __len__(self) -> int:
        return len(self.names)

    def save(self, file: Path) -> None:
        """Write one `.npz` without pickles, whole or not at all."""
        kinds = sorted(set(self.suffixes))
        places = {kind: place for place, kind in enumerate(kinds)}
        names = [os.fsencode(name) for name in self.names]
        head = {
            **{"version": _VERSION, "kinds": kinds, "answers": list(self.answers)},
            **{"classes": self.classes, "num_ignored": self.num_ignored},
            "tar_bytes": self.tar_bytes,
        }
        arrays: dict[str, Any] = {
            "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
            "names": np.frombuffer(b"".join(names), np.uint8),
            "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
            "kinds": np.array([places[suffix] for suffix in self.suffixes], np.uint8),
            **{"offsets": self.offsets, "sizes": self.sizes, "labels": self.labels},
            **{f"answer_{place}": values for place, values in enumerate(self.answers.values())},
        }
        with written_whole(file) as beside, beside.open("wb") as content:
            np.savez(content, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, file: Path) -> TarIndex:
        """What `save` wrote; raises `ValueError` if the file is missing or damaged."""
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ValueError(f"the index {file} cannot be read ({error.strerror})") from error
        return cls.parse(content, str(file))

    @classmethod
    def parse(cls, content: bytes, where: str) -> TarIndex:
        """The same from the content of such a file at `where`."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                arrays = dict(stored)
            head = json.loads(arrays["head"].tobytes())
            if head["version"] != _VERSION:
                raise ValueError(f"version {head['version']}, not {_VERSION}")
            index = cls(
                names=_split(arrays["names"].tobytes(), arrays["name_ends"]),
                suffixes=[head["kinds"][kind] for kind in arrays["kinds"].tolist()],
                **{name: arrays[name] for name in ("offsets", "sizes", "labels")},
                answers={n: arrays[f"answer_{place}"] for place, n in enumerate(head["answers"])},
                classes=tuple(head["classes"]),
                num_ignored=head["num_ignored"],
                tar_bytes=head["tar_bytes"],
            )
            index._check()
        except _DAMAGES as error:
            raise ValueError(f"the index {where} is damaged ({error}): remove it") from error
        return index

    def _check(self) -> None:
        arrays = [self.offsets, self.sizes, self.labels, *self.answers.values()]
        if {len(self.suffixes), *(len(values) for values in arrays)} != {len(self)}:
            raise ValueError("its columns do not fit together")


def _split(text: bytes, ends: np.ndarray) -> list[str]:
    bounds = [0, *ends.tolist()]
    return [os.fsdecode(text[bounds[i] : bounds[i + 1]]) for i in range(len(ends))]
