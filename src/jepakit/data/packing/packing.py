"""Writes a dataset into folders of tar shards, and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path

from pydantic import Field, model_validator

from jepakit.core.byte_sizes import in_bytes
from jepakit.core.files import held, told_if_full
from jepakit.core.settings import Settings as _Settings
from jepakit.data.packing.encoding import QUALITY, WITH_QUALITY, Encoding, Format, check_channels
from jepakit.data.packing.fitting import Fitting, Tell
from jepakit.data.packing.folder import Begun, PackedFolder, Progress, visible_names
from jepakit.data.packing.part import Limits, PartPacking, TooLarge
from jepakit.data.sources.pack_description import PackDescription
from jepakit.data.sources.source import Source

SHARD_BYTES = 256_000_000
_ROOM = 0.99  # of the bytes allowed, where a prediction was wrong before
_Step = tuple[PackedFolder, Source]


class Packing:
    """`run` packs every part into a folder of its own in `out`; a single part into `out` itself."""

    class Settings(_Settings):
        """What is asked for. Other settings in the same folder are refused."""

        channels: int = Field(default=3, ge=1, description="as in data.source.channels")
        values: tuple[float, float] | None = Field(
            default=None, description="as in data.source.values"
        )
        format: Format = Field(default="keep", description="keep, jpeg, webp, png or raw")
        shorter_side: int | None = Field(default=None, ge=1, description="larger ones are shrunk")
        quality: int | None = Field(default=None, ge=1, le=100, description="of JPEG and WebP")
        shard_bytes: int = Field(default=SHARD_BYTES, ge=1, description="of a shard, at most")
        max_bytes: int | None = Field(default=None, ge=1, description="of everything, at most")
        check: bool = Field(default=True, description="decode pictures that are kept as they are")

        @model_validator(mode="after")
        def _quality_is_used(self) -> Packing.Settings:
            may_be_encoded = self.format == "keep" and (self.shorter_side or self.max_bytes)
            if self.quality and self.format not in WITH_QUALITY and not may_be_encoded:
                raise ValueError("only jpeg and webp have a quality: add --format jpeg")
            return self

        def encoding(self) -> Encoding:
            """The form of the pictures, before it is fitted into a size."""
            return Encoding(
                format=self.format,
                shorter_side=self.shorter_side,
                quality=self.quality or QUALITY,
                check=self.check,
            )

    def __init__(
        self,
        settings: Settings,
        parts: Mapping[str, Source],
        out: Path,
        num_workers: int = 0,
        tell: Tell = lambda line: None,
    ) -> None:
        for source in parts.values():
            check_channels(settings.format, source.num_channels)
        self._settings, self._out = settings, out
        self._num_workers, self._tell = num_workers, tell
        is_single = len(parts) == 1
        self._steps: list[_Step] = [
            (PackedFolder(out if is_single else out / name), source)
            for name, source in parts.items()
        ]
        beside = set() if is_single else visible_names(out) - parts.keys()
        strange = [folder.path for folder, _ in self._steps if not folder.is_ours()]
        if beside or strange:
            where = out if beside else strange[0]
            raise ValueError(f"{where} holds other files: give an empty or a new folder")

    def finished(self) -> list[PackDescription] | None:
        """What lies there if it is all that is asked for. Raises `ValueError` for other things."""
        found = [self._look(*step) for step in self._steps]
        packed = [part for part in found if isinstance(part, PackDescription)]
        return packed if len(packed) == len(found) else None

    def run(self, progress: Progress, max_broken_share: float = 0.01) -> list[PackDescription]:
        """Pack what is not packed yet. Raises `ValueError` and `RunFailed`."""
        self._out.mkdir(parents=True, exist_ok=True)
        refusal = f"another process is packing into {self._out}"
        with told_if_full(self._out), held(self._out / ".lock", refusal):
            packed = self._run(progress, max_broken_share)
        (self._out / ".lock").unlink()
        return packed

    def _run(self, progress: Progress, max_broken_share: float) -> list[PackDescription]:
        encoding = self._chosen_before() or self._choose()
        while True:
            try:
                return self._pack_all(encoding, progress, max_broken_share)
            except TooLarge as error:
                encoding = self._choose_smaller(encoding, error)

    def _look(self, folder: PackedFolder, source: Source) -> PackDescription | Begun | None:
        """What lies in a folder, if it may go on."""
        found = folder.packed() or folder.begun()
        if found is None:
            return None
        asked = self._settings.model_dump(mode="json")
        before = {name: found.settings.get(name) for name in asked}
        if found.source != source.fingerprint():
            what = "other pictures, or they changed since"
        elif before != asked:
            name = next(name for name in asked if before[name] != asked[name])
            what = f"them with {name}={before[name]} instead of {asked[name]}"
        else:
            folder.check_sizes(found.shards)
            return found
        if isinstance(found, Begun) and not found.shards:
            return None  # nothing is lost
        raise ValueError(f"{folder.path} holds {what}: give another folder, or remove this one")

    def _chosen_before(self) -> Encoding | None:
        """The encoding of the first part that was begun: a later choice reaches it first."""
        found = [part for step in self._steps if (part := self._look(*step))]
        return _encoding_of(found[0]) if found else None

    def _choose(self) -> Encoding:
        if self._settings.max_bytes is None:
            return self._settings.encoding()
        chosen = self._fitting.choose(self._settings.max_bytes)
        return self._told(chosen, f"at most {in_bytes(self._settings.max_bytes)}")

    def _choose_smaller(self, encoding: Encoding, error: TooLarge) -> Encoding:
        """The prediction was too low by some factor: so it is for other encodings."""
        assert self._settings.max_bytes is not None
        predicted = self._fitting.prediction(encoding)
        actual = error.num_bytes / error.num_pictures * self._fitting.num_pictures
        most = min(self._settings.max_bytes * _ROOM * predicted / actual, predicted - 1)
        why = f"{error.num_pictures} pictures took {in_bytes(error.num_bytes)}, more than predicted"
        return self._told(self._fitting.choose(most), why)

    def _told(self, encoding: Encoding, why: str) -> Encoding:
        size = in_bytes(self._fitting.prediction(encoding))
        self._tell(f"chosen: {encoding.words()}: about {size} ({why})")
        return encoding

    @cached_property
    def _fitting(self) -> Fitting:
        settings = self._settings
        return Fitting(
            [source for _, source in self._steps],
            settings.encoding(),
            settings.quality is not None,
            settings.shard_bytes,
            self._num_workers,
            self._tell,
        )

    def _pack_all(
        self, encoding: Encoding, progress: Progress, share: float
    ) -> list[PackDescription]:
        packed: list[PackDescription] = []
        num_bytes = done = 0
        total = sum(len(source) for _, source in self._steps)
        for folder, source in self._steps:
            room = self._settings.max_bytes and self._settings.max_bytes - num_bytes
            part = self._open(folder, source, encoding)
            if isinstance(part, Begun):
                packing = PartPacking(
                    source, folder, part, self._settings.shard_bytes, Limits(share, room)
                )
                part = packing.run(self._num_workers, partial(_add, progress, done, total))
            packed.append(part)
            done += len(source)
            num_bytes += folder.num_bytes()
            if self._settings.max_bytes and num_bytes > self._settings.max_bytes:
                raise TooLarge(sum(each.num_pictures for each in packed), num_bytes)
        return packed

    def _open(
        self, folder: PackedFolder, source: Source, encoding: Encoding
    ) -> PackDescription | Begun:
        """What was packed with that encoding; without such, a new beginning."""
        found = self._look(folder, source)
        if found is None or _encoding_of(found) != encoding:
            settings = self._settings.model_dump(mode="json")
            found = Begun(source=source.fingerprint(), settings=settings, encoding=encoding)
        if isinstance(found, Begun):
            folder.begin(found)
        return found


def _add(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def _encoding_of(part: PackDescription | Begun) -> Encoding:
    if isinstance(part, Begun):
        return part.encoding
    return Encoding.model_validate(part.settings["encoding"])
