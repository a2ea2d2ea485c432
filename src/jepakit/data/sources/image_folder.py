"""Pictures in a folder on disk: nested or flat, labelled by their first subfolder or unlabelled."""

import os
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from jepakit.data.sources.decoding import Decoding, fingerprint_of_values
from jepakit.data.sources.folder_index import PackedNames, index_folder
from jepakit.data.sources.folder_labels import find_classes, find_labels, part_name, parts_among
from jepakit.data.sources.picture_files import SUFFIXES
from jepakit.data.sources.source import Stored, tell_once
from jepakit.data.sources.stored import StoredSource, names_and_sizes, read_file


def find_splits(path: Path) -> dict[str, Path]:
    """The folders of a dataset that is stored in parts: "train", "val", "test", those there are.

    Empty unless there is a `train` folder beside another part, or alone.
    """
    folders = [entry for entry in path.iterdir() if _is_visible_folder(entry)]
    parts = parts_among(folder.name for folder in folders)
    return {part: path / name for part, name in parts.items()}


class ImageFolder(StoredSource):
    """Every picture below a folder, in the order of their paths.

    Labels are the first-level subfolders if at least two of them hold pictures; a picture beside
    them is unlabelled. Hidden files and folders are ignored. In a folder that is stored in parts
    (`find_splits`), the part is `split`, and `train` if that is not given.
    """

    class Settings(Decoding):
        """Where the pictures are and how they are read."""

        kind: Literal["folder"] = "folder"
        path: Path = Field(description="folder of pictures, with or without subfolders")
        split: str | None = Field(
            default=None, description='part to use: "train", "val", a subfolder'
        )
        index_cache: bool | Path = Field(
            default=True, description="keep the list of files; or where"
        )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.folder = _choose_folder(settings.path.expanduser(), settings.split)
        index = index_folder(self.folder, settings.index_cache)
        if not index.names:
            raise ValueError(_describe_empty(self.folder))
        self._names = PackedNames(index.names)
        self.classes = find_classes(index.names)
        empty = {folder.partition("/")[0] for folder in index.folder_times} - {"", *self.classes}
        if self.classes and empty:
            tell_once(
                f"{self.folder}: no pictures in {', '.join(sorted(empty)[:5])}"
                f"{', …' if len(empty) > 5 else ''}, which is therefore no class"
            )
        self._labels = find_labels(index.names, self.classes)
        self._fingerprint = names_and_sizes(zip(index.names, index.sizes, strict=True))

    def __len__(self) -> int:
        return len(self._names)

    def stored(self, index: int) -> Stored:
        name = self.name(index)
        return read_file(self.folder / name, name)

    def name(self, index: int) -> str:
        return self._names[index]

    def label(self, index: int) -> int:
        return int(self._labels[index])

    def fingerprint(self) -> str:
        """Changes with the names and the sizes of the files, not with where the folder is."""
        return fingerprint_of_values(self._fingerprint, self.settings)


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _choose_folder(path: Path, split: str | None) -> Path:
    if not path.exists():
        raise ValueError(f"the folder {path} does not exist: give --data a folder of pictures")
    if not path.is_dir():
        raise ValueError(f"{path} is a file {_advice_for_a_file(path)}")
    splits = find_splits(path)
    if split is None:
        if splits:
            tell_once(f"{path} is stored in parts ({', '.join(splits)}): using train")
        return splits.get("train", path)
    folder = splits.get(part_name(split), path / split)
    if not folder.is_dir():
        present = ", ".join(splits) or "none of train, val, test"
        raise ValueError(
            f"{path} has no part {split!r}: set data.source.split to one of: {present}"
        )
    return folder


def _advice_for_a_file(path: Path) -> str:
    if path.suffix.lower() in SUFFIXES:
        return f"and no folder: set --data {path.parent} for all that lies beside it"
    if path.suffix.lower() in (".zip", ".7z", ".rar"):
        return "that has to be unpacked first: set --data to the folder that comes out"
    return "of no known kind: give --data a folder, .tar, .csv, .parquet or .npy"


def _describe_empty(folder: Path) -> str:
    suffixes: Counter[str] = Counter()
    for _, _, names in os.walk(folder):
        suffixes.update(os.path.splitext(name)[1].lower() or "(no ending)" for name in names)
    if not suffixes:
        return f"the folder {folder} is empty: set --data FOLDER to a folder of pictures"
    found = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(3))
    known = " ".join(sorted(SUFFIXES))
    return (
        f"{folder} holds no pictures, but {found}: give --data a folder with files of kind {known}"
    )
