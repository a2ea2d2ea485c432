"""The pictures of all shards together: one table of names, places, labels and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int, UInt8

from jepakit.data.sources.folder_index import PackedNames
from jepakit.data.sources.folder_labels import (
    find_classes,
    find_labels,
    in_natural_order,
    part_name,
    parts_among,
)
from jepakit.data.sources.shards.places import Shards
from jepakit.data.sources.source import tell_once
from jepakit.data.sources.stored import names_and_sizes
from jepakit.data.sources.tar_index import TarIndex


@dataclass(frozen=True, eq=False)
class ShardPictures:
    """One row per picture, shard after shard; see `TarIndex`."""

    names: PackedNames
    suffixes: tuple[str, ...]  # all there are
    suffix: UInt8[np.ndarray, " N"]  # place in `suffixes`
    shard: Int[np.ndarray, " N"]
    offsets: Int[np.ndarray, " N"]
    sizes: Int[np.ndarray, " N"]
    labels: Int[np.ndarray, " N"]
    answers: dict[str, np.ndarray]
    classes: tuple[str, ...]
    fingerprint: str


def gather(found: Shards, indices: Sequence[TarIndex], split: str | None) -> ShardPictures:
    """The pictures of a part; raises `ValueError` if there are none, or no such part."""
    place = found.shards[0].shown
    names = [name for index in indices for name in index.names]
    if not names:
        raise ValueError(f"{place} holds no pictures: set data.source.path to tars that do")
    described = _described_labels(found, indices)
    if described is None:
        names = _without_common_folder(names)
    folder = "" if found.has_parts else _part_folder(names, split, place)
    chosen = np.flatnonzero([name.startswith(folder) for name in names])
    names = [names[i][len(folder) :] for i in chosen.tolist()]

    def column(of_index: Callable[[TarIndex], np.ndarray]) -> np.ndarray:
        return np.concatenate([of_index(index) for index in indices])[chosen]

    shard = np.repeat(np.arange(len(indices)), [len(index) for index in indices])[chosen]
    names = _make_unique(names, shard, found)
    sizes = column(lambda index: index.sizes)
    classes = described[0] if described else find_classes(names)
    labels = described[1][chosen] if described else find_labels(names, classes)
    answers = {name: column(partial(_answers, name)) for name in _common_answers(indices)}
    suffixes = sorted({suffix for index in indices for suffix in index.suffixes})
    codes = {suffix: code for code, suffix in enumerate(suffixes)}
    held = (classes, labels, answers) if described or answers else None
    return ShardPictures(
        names=PackedNames(names),
        suffixes=tuple(suffixes),
        suffix=column(lambda index: np.array([codes[s] for s in index.suffixes], np.uint8)),
        shard=shard,
        offsets=column(lambda index: index.offsets),
        sizes=sizes,
        labels=labels,
        answers=answers,
        classes=classes,
        fingerprint=_hash(names, sizes, held),
    )


def _answers(name: str, index: TarIndex) -> np.ndarray:
    return index.answers[name]


def _hash(
    names: list[str],
    sizes: np.ndarray,
    held: tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]] | None,
) -> str:
    """Without classes, labels and answers of its own, a tar is what the folder in it is."""
    beside = b""
    if held:
        classes, labels, answers = held
        arrays = (labels, *answers.values())
        beside = repr((classes, *answers)).encode() + b"".join(a.tobytes() for a in arrays)
    return names_and_sizes(zip(names, sizes.tolist(), strict=True), beside)


def _described_labels(
    found: Shards, indices: Sequence[TarIndex]
) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Classes and labels as the shards have them; None where they have none."""
    numbers = np.concatenate([index.labels for index in indices])
    highest = int(numbers.max())
    if found.description is not None:
        classes = found.description.classes
        if highest >= len(classes):
            raise ValueError(
                f"{found.shards[0].shown}: label {highest} of {len(classes)} classes: pack anew "
                "with `jepa pack`"
            )
        return classes, numbers
    if highest < 0:
        return None
    if not any(index.classes for index in indices):
        return tuple(str(number) for number in range(highest + 1)), numbers
    texts = [_texts(index) for index in indices]
    classes = in_natural_order({text for of_one in texts for text in of_one})
    places = {text: place for place, text in enumerate(classes)}
    to_places = [np.array([*(places[text] for text in of_one), -1], np.int64) for of_one in texts]
    renumbered = [to[index.labels] for to, index in zip(to_places, indices, strict=True)]
    return classes, np.concatenate(renumbered)


def _texts(index: TarIndex) -> tuple[str, ...]:
    """The names of a shard's labels 0, 1, …; -1 takes what stands behind the last."""
    return index.classes or tuple(str(number) for number in range(int(index.labels.max()) + 1))


def _common_answers(indices: Sequence[TarIndex]) -> list[str]:
    return [name for name in indices[0].answers if all(name in index.answers for index in indices)]


def _without_common_folder(names: list[str]) -> list[str]:
    """`photos/a/1.jpg`, `photos/b/2.jpg` -> `a/1.jpg`, `b/2.jpg`; a part is kept."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    top = tops.pop()
    if tops or not top or parts_among([top]):
        return names
    return [name.partition("/")[2] for name in names]


def _part_folder(names: list[str], split: str | None, place: str) -> str:
    """With which folder the names of a part begin; "" without parts."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    parts = parts_among(folders)
    if split is None:
        if parts:
            tell_once(f"{place} is stored in parts ({', '.join(parts)}): using train")
        return f"{parts['train']}/" if parts else ""
    wanted = part_name(split)
    if wanted in parts or split in folders:
        return f"{parts.get(wanted, split)}/"
    advice = f"set data.source.split to one of: {', '.join(parts)}" if parts else "leave it out"
    raise ValueError(f"{place} has no part {split!r}: {advice}")


def _make_unique(names: list[str], shard: np.ndarray, found: Shards) -> list[str]:
    """The same names, or with the shard before them where shards repeat them."""
    if len(set(names)) == len(names):
        return names
    stems = [shard.stem for shard in found.shards]
    if len(set(stems)) < len(stems):
        stems = [str(number) for number in range(len(stems))]
    return [f"{stems[number]}/{name}" for number, name in zip(shard.tolist(), names, strict=True)]
