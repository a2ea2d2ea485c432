"""From the path that a user gives to the tar files that it means, in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jepakit.data.sources.folder_labels import in_natural_order, part_name, parts_among
from jepakit.data.sources.pack_description import (
    DESCRIPTION_FILE,
    PackDescription,
    is_description,
    parse_description,
)
from jepakit.data.sources.shards.shard import Shard, expand_braces, is_pipe, is_remote

ReadSmall = Callable[[str], bytes | None]  # the content at a URL; None where there is nothing


@dataclass(frozen=True)
class Shards:
    """Tar files, and what the folders describe that they were packed into."""

    shards: tuple[Shard, ...]
    description: PackDescription | None
    has_parts: bool  # whether a part was chosen among several


def find_shards(path: str, split: str | None, read_small: ReadSmall) -> Shards:
    """The tars that `path` means: see `TarShards`. Raises `ValueError` if there are none."""
    found = [_find(place, split, read_small) for place in path.split("::") if place]
    shards = tuple(shard for one in found for shard in one.shards)
    places = [shard.place for shard in shards]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ValueError(f"data.source.path names {twice} twice: leave one of them out")
    if not shards:
        raise ValueError(f"data.source.path={path!r} names no tar files: set it to some")
    descriptions = [one.description for one in found]
    first = descriptions[0]
    if any(_meanings(other) != _meanings(first) for other in descriptions):
        raise ValueError(
            f"{path}: the packed folders have other classes or tasks: pack them with the same"
        )
    return Shards(shards, first, any(one.has_parts for one in found))


def _meanings(description: PackDescription | None) -> object:
    return description and (description.classes, description.tasks, description.quantities)


def _find(place: str, split: str | None, read_small: ReadSmall) -> Shards:
    if not is_remote(place):
        path = Path(place).expanduser()
        if path.name == DESCRIPTION_FILE:
            path = path.parent
        if path.is_dir():
            return _find_in_folder(path, split)
        places = [str(Path(one).expanduser()) for one in expand_braces(place)]
        missing = [one for one in places if not Path(one).is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(places)} tar files are missing, e.g. {missing[0]}: "
                "set data.source.path to where they are"
            )
        return _beside_description(places, _read_file)
    if place.endswith("/" + DESCRIPTION_FILE):
        return _find_at_url(place[: -len(DESCRIPTION_FILE)], split, read_small)
    return _beside_description(expand_braces(place), read_small)


def _find_at_url(base: str, split: str | None, read_small: ReadSmall) -> Shards:
    """A packed folder on a server, or its folder for a part."""
    part = f"{base}{part_name(split or 'train')}/"
    for folder in (base, part):
        content = read_small(folder + DESCRIPTION_FILE)
        if content is not None:
            description = parse_description(content, folder + DESCRIPTION_FILE)
            return _described(description, folder, has_parts=folder == part)
    raise ValueError(
        f"there is neither {base}{DESCRIPTION_FILE} nor {part}{DESCRIPTION_FILE}: set "
        "data.source.path to a packed folder's"
    )


def _find_in_folder(folder: Path, split: str | None) -> Shards:
    """A packed folder, a folder of tars, or a folder of either for each part."""
    content = _read_file(str(folder / DESCRIPTION_FILE))
    if content is not None and is_description(content):
        description = parse_description(content, str(folder / DESCRIPTION_FILE))
        return _described(description, f"{folder}/")
    tars = in_natural_order(file.name for file in folder.glob("*.tar") if file.name[0] != ".")
    if tars:
        parts = _parts_of_files(tars)
        chosen = _choose(folder, parts, split) if parts else tars
        places = tuple(Shard(str(folder / name)) for name in chosen)
        return Shards(places, None, bool(parts))
    folders = {entry.name: entry for entry in folder.iterdir() if entry.is_dir()}
    named = parts_among(name for name in folders if not name.startswith("."))
    if not named:
        raise ValueError(f"{folder} holds no .tar files: set data.source.path to where they are")
    inside = {part: (folders[name],) for part, name in named.items()}
    found = _find_in_folder(_choose(folder, inside, split)[0], None)
    return Shards(found.shards, found.description, True)


def _parts_of_files(names: Sequence[str]) -> dict[str, list[str]]:
    """`train-00.tar`, `val.tar`, … by part; empty unless training stands beside another part."""
    words = {name: [part_name(word) for word in re.findall("[A-Za-z]+", name)] for name in names}
    parts: dict[str, list[str]] = {}
    for name in names:
        part = next((word for word in words[name] if word in ("train", "val", "test")), "")
        parts.setdefault(part, []).append(name)
    return parts if "train" in parts and len(parts) > 1 else {}


def _choose(
    folder: Path, parts: dict[str, list[str]] | dict[str, tuple[Path]], split: str | None
) -> Sequence:
    part = part_name(split or "train")
    if part not in parts:
        present = ", ".join(sorted(name for name in parts if name))
        raise ValueError(
            f"{folder} has no part {split!r}: set data.source.split to one of: {present}"
        )
    return parts[part]


def _described(description: PackDescription, base: str, has_parts: bool = False) -> Shards:
    shards = tuple(Shard(base + packed.file, packed) for packed in description.shards)
    return Shards(shards, description, has_parts)


def _beside_description(places: list[str], read: ReadSmall) -> Shards:
    """Tars that are named one by one; they may be some of a packed folder."""
    plain = Shards(tuple(Shard(place) for place in places), None, False)
    folders = {place[: len(place) - len(_last(place))] for place in places}
    if any(is_pipe(place) for place in places) or len(folders) > 1:
        return plain
    base = folders.pop()
    content = read(base + DESCRIPTION_FILE)
    if content is None or not is_description(content):
        return plain
    description = parse_description(content, base + DESCRIPTION_FILE)
    packed = {shard.file: shard for shard in description.shards}
    if not all(_last(place) in packed for place in places):
        return plain
    return Shards(tuple(Shard(place, packed[_last(place)]) for place in places), description, False)


def _last(place: str) -> str:
    return place.rpartition("/")[2]


def _read_file(file: str) -> bytes | None:
    return Path(file).read_bytes() if Path(file).is_file() else None
