"""From what was typed after --data to the source that reads it: a folder, a table, a name, …"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jepakit.data.sources.arrays import ArraySource
from jepakit.data.sources.clevr import Clevr
from jepakit.data.sources.clevr_files import PARTS, find_layout, find_parts
from jepakit.data.sources.huggingface import HuggingFace
from jepakit.data.sources.image_folder import ImageFolder, find_splits
from jepakit.data.sources.kinds import UnmixedSettings, build_unmixed
from jepakit.data.sources.pack_description import DESCRIPTION_FILE
from jepakit.data.sources.parquet_files import holds_pictures
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.data.sources.table import Table, table_parts
from jepakit.data.sources.tar_shards import TarShards
from jepakit.data.sources.torchvision_datasets import TorchvisionDataset

ALL = "all"  # the one part of a dataset that is not stored in parts
SCENES, HUB, TORCHVISION = "scenes", "hf:", "torchvision:"

_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
_ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
# `save_to_disk` writes the first two.
_OF_HUGGING_FACE = ("state.json", "dataset_dict.json", "*.parquet", "data/*.parquet")
# Tar files, here or elsewhere; several with :: between them.
_SHARDS = re.compile(r"^pipe:|\.(tar|tgz|tar\.gz)$|\.tar(::|\s)|://.*/index\.json$")
_USUAL_PARTS = ("train", "val", "test")


def guess_source(text: str | Path, channels: int = 3, split: str | None = None) -> UnmixedSettings:
    """Settings of the source for a text; without `split`, of its training part if it has parts.

    `hf:NAME[@REVISION]` and `torchvision:NAME[/PART]` name data sets; everything else is a path.
    """
    text = str(text)
    if not text.strip() or text in (HUB, TORCHVISION):
        raise ValueError(f"--data {text!r} names no pictures: give a folder, a file, or hf:NAME")
    named: Any = {"channels": channels, "split": split}
    if text.startswith(HUB):
        name, _, revision = text.removeprefix(HUB).partition("@")
        return HuggingFace.Settings(path=name, revision=revision or None, **named)
    if text.startswith(TORCHVISION):
        name, _, part = text.removeprefix(TORCHVISION).partition("/")
        return TorchvisionDataset.Settings(
            name=name, channels=channels, split=split or part or None
        )
    if _SHARDS.search(text):
        return TarShards.Settings(path=text, **named)
    path = Path(text).expanduser()
    if text == SCENES and not path.exists():
        return ProceduralScenes.Settings()
    suffix = path.suffix.lower()
    if suffix == ".arrow" or (suffix == ".parquet" and ("://" in text or holds_pictures(path))):
        return HuggingFace.Settings(path=text, **named)
    if suffix in _TABLE_SUFFIXES | {".parquet"} and not path.is_dir():
        return Table.Settings(path=path, **named)
    if "://" in text:
        raise ValueError(
            f"{text} is no tar file: name its tar files ({text}/x-{{00..99}}.tar), or the "
            "index.json of a packed folder"
        )
    if suffix in _ARRAY_SUFFIXES and not path.is_dir():
        return ArraySource.Settings(path=path, **named)
    return _guess_folder(path, channels, split)


def guess_parts(text: str | Path, channels: int = 3) -> dict[str, UnmixedSettings]:
    """Settings of a dataset's labelled parts, e.g. "train" and "val"; of "all" without parts."""
    whole = guess_source(text, channels)
    return {name: guess_source(text, channels, name) for name in _parts(whole)} or {ALL: whole}


def _guess_folder(path: Path, channels: int, split: str | None) -> UnmixedSettings:
    if path.is_dir() and _holds(path, "*.tar", DESCRIPTION_FILE):
        return TarShards.Settings(path=str(path), channels=channels, split=split)
    if path.is_dir() and _holds(path, *_OF_HUGGING_FACE):
        return HuggingFace.Settings(path=str(path), channels=channels, split=split)
    if find_layout(path) is None:
        return ImageFolder.Settings(path=path, channels=channels, split=split)
    part = split or "train"
    if part not in PARTS:
        raise ValueError(f"CLEVR has no part {part!r}: set split to one of: {', '.join(PARTS)}")
    return Clevr.Settings(path=path, channels=channels, split=part)


def _holds(folder: Path, *patterns: str) -> bool:
    """Whether a file of such a name lies there, or in the folder of the training part."""
    parts = [folder, *find_splits(folder).values()]
    return any(next(part.glob(pattern), None) for part in parts for pattern in patterns)


def _parts(whole: UnmixedSettings) -> list[str]:
    """The names of the parts, none if it is not stored in parts."""
    if isinstance(whole, Table.Settings):
        return table_parts(whole)
    if isinstance(whole, Clevr.Settings):
        return list(find_parts(whole.path))
    if isinstance(whole, ImageFolder.Settings):
        return list(find_splits(whole.path)) if whole.path.is_dir() else []
    if isinstance(whole, ProceduralScenes.Settings) or whole.split is not None:
        return []
    return [name for name in _USUAL_PARTS if _opens(whole, name)]


def _opens(whole: UnmixedSettings, part: str) -> bool:
    """Whether there is such a part: asked of the source itself, which alone knows."""
    try:
        build_unmixed(whole.model_copy(update={"split": part}))
    except ValueError:
        return False
    return True


def short_name(text: str | Path) -> str:
    """A name for the folder of what is made from these pictures: letters, digits, `_.-`."""
    last = Path(text).expanduser().resolve().name if "://" not in str(text) else str(text)
    last = re.split(r"[/:]", last.rstrip("/").removesuffix("/" + DESCRIPTION_FILE))[-1]
    plain = re.sub(r"\.(csv|tsv|parquet|npy|npz|tar|json)$", "", last)
    plain = re.sub(r"[-_.]*\{[^}]*\}", "", plain)  # the numbers of shards
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.") or "pictures"
