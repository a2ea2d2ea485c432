"""The data sets that torchvision knows by name: CIFAR10, STL10, Imagenette, Food101, …"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from jepakit.data.sources.decoding import Decoding, fingerprint_of_values, fit_image
from jepakit.data.sources.files_or_arrays import FilesOrArrays
from jepakit.data.sources.folder_index import PackedNames, cache_root
from jepakit.data.sources.source import BrokenPicture, Stored
from jepakit.data.sources.stored import read_file
from jepakit.data.sources.torchvision_arguments import find_arguments, find_class, takes_loader
from jepakit.data.sources.torchvision_opening import as_label, find_classes, find_labels, opened

_NUM_HASHED = 64  # pictures


class TorchvisionDataset(FilesOrArrays):
    """One of torchvision's data sets of pictures with a class each.

    Pictures that torchvision leaves to a loader are read and decoded by us, in the order of their
    paths. Others are what torchvision makes of its own formats, in its order.
    """

    class Settings(Decoding):
        """Which of torchvision's data sets, which part of it, and where it is."""

        kind: Literal["torchvision"] = "torchvision"
        name: str = Field(description='class in torchvision.datasets: "CIFAR10", "STL10", …')
        root: Path | None = Field(
            default=None, description="where it is; null = torchvision/ in our cache"
        )
        split: str | None = Field(
            default=None, description='part to use: "train", "test", …; null = the class\'s own'
        )
        download: bool = Field(default=False, description="download it if it is not there")
        options: dict[str, Any] = Field(
            default={}, description="further arguments of the class, by name"
        )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._root = (settings.root or cache_root() / "torchvision").expanduser()
        self._title = settings.name
        kind = find_class(settings.name)
        arguments = find_arguments(
            kind, self._root, settings.split, settings.download, settings.options
        )
        if takes_loader(kind):
            arguments["loader"] = os.fspath
        dataset = opened(kind, arguments)
        self._length = len(dataset)
        self._paths: PackedNames | None = None
        self._dataset: Any = None
        self._labels: np.ndarray | None
        if takes_loader(kind):
            self._take_paths(dataset)
        else:
            self._labels = find_labels(dataset)
            self._dataset = dataset
        self.classes = find_classes(dataset, self._labels, settings.options)
        self._fingerprint = self._hash()

    def __len__(self) -> int:
        return self._length

    def stored(self, index: int) -> Stored | None:
        name = self.name(index)
        return None if self._paths is None else read_file(self._root / name, name)

    def array(self, index: int) -> UInt8[np.ndarray, "H W C"]:
        try:
            return fit_image(self._dataset[index][0], self.num_channels)
        except (OSError, ValueError, SyntaxError) as error:
            raise BrokenPicture(self.name(index), str(error)) from error

    def name(self, index: int) -> str:
        """The path below the root, or a number."""
        return f"{self._title}-{index:06d}" if self._paths is None else self._paths[index]

    def label(self, index: int) -> int:
        if self._labels is None:
            return as_label(self._dataset[index][1], self._title)
        return int(self._labels[index])

    def fingerprint(self) -> str:
        """Changes with names, labels, and some of the pictures."""
        return fingerprint_of_values(self._fingerprint, self.settings)

    def _take_paths(self, dataset: Any) -> None:
        """The paths and labels of all pictures, which the data set tells without reading one."""
        found = sorted(
            (os.path.relpath(path, self._root), as_label(label, self._title))
            for path, label in (dataset[index] for index in range(len(dataset)))
        )
        self._paths = PackedNames([name for name, _ in found])
        self._labels = np.array([label for _, label in found], np.int64)

    def _content(self, index: int) -> bytes:
        try:
            stored = self.stored(index)
        except BrokenPicture:
            return b"broken"
        return bytes(stored.content) if stored else self._dataset[index][0].tobytes()

    def _hash(self) -> str:
        digest = hashlib.sha256(repr((self._title, len(self), self.classes)).encode())
        if self._labels is not None:
            digest.update(self._labels.tobytes())
        for index in np.linspace(0, len(self) - 1, _NUM_HASHED).astype(int).tolist():
            digest.update(os.fsencode(self.name(index)) + self._content(index))
        return digest.hexdigest()[:16]
