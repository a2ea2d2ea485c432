"""Builds the index of a tar file: which members are pictures, and which describe them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jepakit.data.sources.folder_labels import in_natural_order
from jepakit.data.sources.picture_files import SUFFIXES
from jepakit.data.sources.shards.tar_members import CutTar, Member, Progress, walk_tar
from jepakit.data.sources.tar_index import TarIndex

_LABEL_ENDING, _ANSWERS_ENDING = ".cls", ".json"
_LABELS_IN_JSON = ("cls", "label")
_MOST_CLASSES = 100_000


def scan_tar(
    file: Path,
    progress: Progress | None = None,
    answers: Iterable[str] = (),
    allow_cut: bool = False,
    called: str | None = None,
) -> TarIndex:
    """Find the pictures of a tar, reading the headers and, where there are any, descriptions.

    As in WebDataset, a picture KEY.jpg is described by the members KEY.cls, its label, and
    KEY.json, with the label as "cls" or "label" and with the `answers` to further questions.
    Labels that are no numbers become the index's `classes`. Described pictures keep the order of
    the tar; any others are sorted by name, like a folder. `allow_cut` takes what lies before the
    end of a tar that was cut off. Raises `ValueError` for what `walk_tar` refuses, for two members
    of one name, and for descriptions that cannot be read, with the file as it is `called`.
    """
    place = called or str(file)
    found = _Found(file, place)
    is_cut = False
    try:
        for member in walk_tar(file, progress, called):
            found.add(member)
    except CutTar:
        if not allow_cut:
            raise CutTar(
                f"{place} is cut off after {len(found.pictures)} whole pictures: get it anew, or "
                "set data.source.allow_cut=true to use these"
            ) from None
        is_cut = True
    return found.index(tuple(answers), is_cut)


@dataclass
class _Found:
    """The members of a tar by what they are for."""

    file: Path
    place: str  # the file's name in messages
    pictures: list[Member] = field(default_factory=list)
    descriptions: dict[str, Member] = field(default_factory=dict)  # by name
    names: set[str] = field(default_factory=set)

    def add(self, member: Member) -> None:
        if member.name in self.names:
            raise ValueError(
                f"{self.place} holds two members named {member.name}: make the tar anew with one"
            )
        self.names.add(member.name)
        if member.name.startswith(".") or "/." in member.name:
            return  # hidden, as in a folder
        ending = _ending(member.name)
        if ending in SUFFIXES:
            self.pictures.append(member)
        elif ending in (_LABEL_ENDING, _ANSWERS_ENDING):
            self.descriptions[member.name] = member

    def index(self, answers: tuple[str, ...], is_cut: bool) -> TarIndex:
        keys = [_key(picture.name) for picture in self.pictures]
        used = [name for key in set(keys) for name in _describing(key) if name in self.descriptions]
        if is_cut and used and not any(name in used for name in _describing(keys[-1])):
            keys.pop()  # its description came after the cut
            self.pictures.pop()
        if used or answers:
            with self.file.open("rb") as content:
                labels, columns = self._read_descriptions(content.fileno(), keys, answers)
        else:
            labels, columns = [None] * len(keys), {}
            self.pictures.sort()
        classes, places = _number(labels, self.place)
        return TarIndex(
            names=[picture.name for picture in self.pictures],
            suffixes=[_ending(picture.name) for picture in self.pictures],
            offsets=np.array([picture.offset for picture in self.pictures], np.int64),
            sizes=np.array([picture.size for picture in self.pictures], np.int64),
            labels=places,
            answers=columns,
            classes=classes,
            num_ignored=len(self.names) - len(self.pictures) - len(used),
            tar_bytes=self.file.stat().st_size,
        )

    def _read_descriptions(
        self, descriptor: int, keys: list[str], answers: tuple[str, ...]
    ) -> tuple[list[int | str | None], dict[str, np.ndarray]]:
        """The labels as they are written, and the columns of answers."""
        labels: list[int | str | None] = []
        rows: list[list[int | float]] = []
        for key in keys:
            written, described = (self._read(descriptor, name) for name in _describing(key))
            known = self._parse(described, key + _ANSWERS_ENDING)
            in_json = next((known[name] for name in _LABELS_IN_JSON if name in known), None)
            labels.append(written.strip() or in_json)
            for name in answers:
                if not isinstance(known.get(name), int | float):
                    raise ValueError(f"{self.place}: {key}.json has no number {name!r}: pack anew")
            rows.append([known[name] for name in answers])
        columns = (np.array(column) for column in zip(*rows, strict=True))
        return labels, dict(zip(answers, columns, strict=bool(rows)))

    def _read(self, descriptor: int, name: str) -> str:
        member = self.descriptions.get(name)
        content = os.pread(descriptor, member.size, member.offset) if member else b""
        return content.decode("utf-8", errors="replace")

    def _parse(self, text: str, name: str) -> dict[str, Any]:
        try:
            parsed = json.loads(text or "{}")
        except ValueError as error:
            raise ValueError(f"{self.place}: {name} is not JSON ({error}): correct it") from None
        return parsed if isinstance(parsed, dict) else {}


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _key(name: str) -> str:
    """What members that belong together have in common: all up to the base name's first dot."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _describing(key: str) -> tuple[str, str]:
    return key + _LABEL_ENDING, key + _ANSWERS_ENDING


def _number(labels: list[int | str | None], place: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels as numbers; where some are texts, also the classes in which these are places."""
    try:
        numbers = np.array([-1 if label is None else int(str(label)) for label in labels], np.int64)
    except (ValueError, TypeError, OverflowError):
        texts = [None if label is None else str(label) for label in labels]
        classes = in_natural_order({text for text in texts if text is not None})
        places = {text: place for place, text in enumerate(classes)}
        return classes, np.array([places.get(text or "", -1) for text in texts], np.int64)
    if len(numbers) and not -1 <= numbers.min() <= numbers.max() < _MOST_CLASSES:
        raise ValueError(
            f"{place}: labels from {numbers.min()} to {numbers.max()} are no classes: number them "
            f"from 0 to at most {_MOST_CLASSES - 1}"
        )
    return (), numbers
