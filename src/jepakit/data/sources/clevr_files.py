"""Which scenes a CLEVR folder holds, in the layout of its archive or as views of single scenes."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jepakit.data.sources.picture_files import SUFFIXES

FEWEST, MOST = 3, 10  # objects in a scene
PARTS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
Layout = Literal["published", "views"]

_ARCHIVE = "CLEVR_v1.0"


@dataclass(frozen=True)
class ClevrFiles:
    """One part of a data set; empty counts: no scenes; empty depths: no known camera."""

    folder: Path
    names: list[str]  # paths of the pictures, relative to the folder
    sizes: list[int]  # of their files, in bytes
    counts: list[int]
    depths: list[float]  # of the object nearest to the camera


def find_layout(path: Path) -> Layout | None:
    """How CLEVR is stored in a folder, or in the archive unpacked inside it; None: no CLEVR."""
    root = _find_root(path)
    if not any((root / "scenes").glob("CLEVR_*.json")):
        return None
    if (root / "images").is_dir():
        return "published"
    return "views" if (root / "train").is_dir() else None


def find_parts(path: Path) -> list[Literal["train", "val", "test"]]:
    """The parts that have labels; CLEVR's own test part was published without."""
    root = _find_root(path)
    if find_layout(root) == "published":
        return [part for part in PARTS if _scenes_file(root, part).is_file()]
    return [part for part in PARTS if (root / part).is_dir()]


def read_part(path: Path, part: str) -> ClevrFiles:
    """The pictures and scenes of a part. `ValueError` where they do not fit together."""
    root = _find_root(path)
    layout = find_layout(root)
    if layout is None:
        raise ValueError(
            f"{path} is not CLEVR: set --data to the unpacked {_ARCHIVE} (images/ and scenes/), or "
            "to a folder with train/<count>/*.png and scenes/CLEVR_*.json"
        )
    return _read_published(root, part) if layout == "published" else _read_views(root, part)


def _find_root(path: Path) -> Path:
    inner = path / _ARCHIVE
    return inner if inner.is_dir() else path


def _scenes_file(root: Path, part: str) -> Path:
    return root / "scenes" / f"CLEVR_{part}_scenes.json"


def _read_published(root: Path, part: str) -> ClevrFiles:
    folder, file = root / "images" / part, _scenes_file(root, part)
    sizes = _picture_sizes(folder)
    if part == "test" and not file.is_file():
        return ClevrFiles(folder, list(sizes), list(sizes.values()), [], [])
    scenes = _parse(file)
    if not isinstance(scenes, list) or not all(isinstance(scene, _Scene) for scene in scenes):
        raise ValueError(f"{file} does not list CLEVR's scenes: unpack the {_ARCHIVE} archive anew")
    names = [scene.picture for scene in scenes]
    missing = [name for name in names if name not in sizes]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} pictures of {file.name} are not in {folder}, e.g. "
            f"{missing[0]}: unpack the whole {_ARCHIVE} archive"
        )
    for scene in scenes:
        _check_count(scene.count, scene.picture)
        if math.isnan(scene.depth):
            raise ValueError(f"{file}: an object of {scene.picture} has no pixel_coords")
    return ClevrFiles(
        folder,
        names,
        [sizes[name] for name in names],
        [scene.count for scene in scenes],
        [scene.depth for scene in scenes],
    )


def _read_views(root: Path, part: str) -> ClevrFiles:
    folder = root / part
    if not folder.is_dir():
        present = ", ".join(find_parts(root))
        raise ValueError(f"{root} has no part {part!r}: set split to one of: {present}")
    sizes = {
        f"{count.name}/{name}": size
        for count in sorted(folder.iterdir())
        if count.is_dir()
        for name, size in _picture_sizes(count).items()
    }
    names = list(sizes)
    counts = [_count_objects(root, name) for name in names]
    return ClevrFiles(folder, names, list(sizes.values()), counts, [])


def _count_objects(root: Path, name: str) -> int:
    """Of the scene that a view `<count>/<scene>-<view>.png` shows; the folder must agree."""
    folder, _, picture = name.partition("/")
    file = root / "scenes" / f"{Path(picture).stem.partition('-')[0]}.json"
    scene = _parse(file)
    if not isinstance(scene, _Scene):
        raise ValueError(f"{file} holds no CLEVR scene: it needs a list of objects")
    if not folder.isdecimal() or int(folder) != scene.count:
        raise ValueError(
            f"{name} lies in folder {folder!r}, but {file.name} has {scene.count} objects: "
            "correct one of them"
        )
    return _check_count(scene.count, name)


def _picture_sizes(folder: Path) -> dict[str, int]:
    """Bytes by file name, in the order of the names."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: unpack the whole {_ARCHIVE} archive")
    with os.scandir(folder) as entries:
        found = {
            entry.name: entry.stat().st_size
            for entry in entries
            if Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()
        }
    return dict(sorted(found.items()))


def _check_count(count: int, name: str) -> int:
    if not FEWEST <= count <= MOST:
        raise ValueError(
            f"the scene of {name} has {count} objects, CLEVR has {FEWEST} to {MOST}: leave it out"
        )
    return count


@dataclass(frozen=True)
class _Scene:
    picture: str
    count: int
    depth: float  # of the nearest object; NaN = not given


def _parse(file: Path) -> Any:
    try:
        with file.open(encoding="utf-8") as text:
            return json.load(text, object_hook=_reduce)
    except FileNotFoundError:
        raise ValueError(f"{file} is missing: unpack the scenes beside the pictures") from None
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}): unpack it again") from None


def _reduce(found: dict[str, Any]) -> Any:
    """Every JSON object becomes what is needed of it at once: 70,000 scenes stay small."""
    if "objects" in found:
        depths = found["objects"]
        known = depths and all(isinstance(depth, float) for depth in depths)
        return _Scene(found["image_filename"], len(depths), min(depths) if known else math.nan)
    if "pixel_coords" in found:
        return float(found["pixel_coords"][2])
    return found.get("scenes")
