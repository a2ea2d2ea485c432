"""One visitor's picture, box and patch, and the panels that follow them as they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jepakit.data.sources.source import BrokenPicture, Picture
from jepakit.models.positions import Grid
from jepakit.runs.seeing.looking import NotDrawn
from jepakit.runs.studio import panels
from jepakit.runs.studio.box import ChosenPatch, HiddenBox
from jepakit.runs.studio.imagining import Imagine
from jepakit.runs.studio.panels import Panel
from jepakit.runs.studio.sight import Looker, Sight
from jepakit.runs.studio.uploads import read_upload
from jepakit.visualization.sections import data_address
from jepakit.visualization.tiles import Tile, resize, tile_size, to_colour

_SEEN = 512  # pixels of the picture's longer side on the page
_FOLLOW_THE_BOX: frozenset[Panel] = frozenset({"surprise", "expected", "imagined"})
_FOLLOW_THE_PICTURE: frozenset[Panel] = _FOLLOW_THE_BOX | {"resemblance"}


@dataclass(frozen=True)
class Studio:
    """The models, the first of which tells the grid that people see; and a decoder of the first."""

    lookers: tuple[Looker, ...]
    imagine: Imagine | None = None
    computing: Lock = field(default_factory=Lock)  # models are asked one thing at a time

    @property
    def examples(self) -> UInt8[np.ndarray, "B H W 3"]:
        """The first model's pictures, as it sees them, to draw."""
        return to_colour(self.lookers[0].looking.pictures)

    def example(self, number: int) -> Picture:
        """One of them. `ValueError` for a number that is not there."""
        looking = self.lookers[0].looking
        if not 0 <= number < len(looking.places):
            raise ValueError(f"There is no example {number + 1}: choose one that is shown.")
        try:
            return looking.source.open(looking.places[number])
        except BrokenPicture as error:  # it was readable when the page was opened
            raise ValueError(f"Example {number + 1} cannot be read any more: {error}.") from error


@dataclass(frozen=True)
class Step:
    """What has become known: panels as HTML, and a sentence that is also read aloud."""

    panels: Mapping[Panel, str]
    status: str


class Visit:
    """What one visitor looks at. A new `look` ends the one that is still going on."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.grid: Grid = studio.lookers[0].grid
        self.box, self.patch = HiddenBox.middle(self.grid), ChosenPatch.middle(self.grid)
        self.shown = tuple(range(min(2, len(studio.lookers))))
        self.status = ""  # what was said last of the look
        self.problem = ""  # the last change that was asked for could not be; what is wrong with it
        self._sights: tuple[Sight, ...] = ()
        self._example: int | None = None  # the one that is looked at
        self._scene_is_new = False
        self._stale: set[Panel] = set()
        self._changing = Lock()
        self._sent: dict[str, float] = {}  # when the newest change of each kind was made
        self._ticket = 0  # a look goes on while it holds the newest
        self._marking = Lock()  # what is out of date

    def change(self, what: str, sent: float, change: Callable[[Visit], None]) -> bool:
        """Change what is looked at, unless a change of this kind that was sent later came first.

        Whether there is anything new to look at; `problem` says why a change cannot be.
        """
        with self._changing:
            if sent < self._sent.get(what, sent):
                return False
            self._sent[what], self.problem = sent, ""
            try:
                change(self)
            except ValueError as mistake:
                self.problem = str(mistake)
            return not self.problem

    def show_upload(self, given: Mapping[str, Any]) -> None:
        """Look at a picture that was given. `ValueError` if it cannot be used."""
        loaded = self.studio.lookers[0].looking.loaded
        self._show(read_upload(given, loaded.encoder.num_channels, loaded.values), None)

    def show_example(self, number: int) -> None:
        """Look at an example. `ValueError` for one that is not there."""
        self._show(self.studio.example(number), number)

    def _show(self, picture: Picture, example: int | None) -> None:
        """Look at this picture from now on; only what the networks see of it is kept."""
        self._sights = tuple(looker.see(picture) for looker in self.studio.lookers)
        with self.studio.computing:
            self.patch = self._sights[0].standing_out
        self._example, self._scene_is_new = example, True
        self._outdate(_FOLLOW_THE_PICTURE)

    def hide(self, words: Mapping[str, Any]) -> None:
        """Hide another box. `ValueError` for one that cannot be hidden; the old one stays."""
        self.box = HiddenBox.written(words, self.grid)
        self._outdate(_FOLLOW_THE_BOX)

    def choose(self, words: Mapping[str, Any]) -> None:
        """Compare another patch. `ValueError` outside of the grid; the old one stays."""
        self.patch = ChosenPatch.written(words, self.grid)
        self._outdate({"resemblance"})

    def compare(self, names: Sequence[str]) -> None:
        """Show these models side by side. `ValueError` for none."""
        chosen = tuple(n for n, one in enumerate(self.studio.lookers) if one.name in names)
        if not chosen:
            raise ValueError("No model is chosen: tick at least one.")
        self.shown = chosen
        self._outdate(_FOLLOW_THE_PICTURE)

    def _outdate(self, stale: AbstractSet[Panel]) -> None:
        """These panels show what was before; so does the look that goes on."""
        with self._marking:
            self._stale |= stale
            self._ticket += 1

    def new_scene(self) -> dict[str, Any] | None:
        """What the picture's part of the page draws, once per picture."""
        if not self._scene_is_new:
            return None
        self._scene_is_new = False
        tile = self._sights[0].tile
        large = resize(tile, tile_size((tile.shape[0], tile.shape[1]), self.grid, _SEEN))
        rows, columns = self.grid
        return {
            "image": data_address(large, quick=True),
            **{"rows": rows, "columns": columns},
            **{"box": self.box.words(), "patch": self.patch.words()},
            "example": -1 if self._example is None else self._example,
        }

    def look(self) -> Iterator[Step]:
        """Draw what is out of date, the quick things first."""
        for step in self._look():
            self.status = step.status
            yield step

    def _look(self) -> Iterator[Step]:
        with self._marking:
            self._ticket += 1
            ticket, stale = self._ticket, set(self._stale)
        box, patch, sights = self.box, self.patch, [self._sights[n] for n in self.shown]
        yield Step({}, "Looking …")
        for kind, draw, is_last in self._stages(sights, box, patch):
            if kind not in stale:
                continue
            for html in self._drawn(kind, draw, sights):
                if ticket != self._ticket:
                    return
                yield Step({kind: html}, "Looking …")
            with self._marking:
                if ticket != self._ticket:
                    return
                if is_last:
                    self._stale.discard(kind)
        if ticket != self._ticket:
            return
        where = f"rows {box.top + 1} to {box.top + box.height}, columns {box.left + 1} to "
        yield Step({}, f"Done: the box hides {where}{box.left + box.width}.")

    def _stages(
        self, sights: Sequence[Sight], box: HiddenBox, patch: ChosenPatch
    ) -> Iterator[tuple[Panel, Callable[[Sight], Iterator[str]], bool]]:
        """Panel, how each column of it is drawn, and whether the panel is then complete."""
        known = all("energy" in vars(sight) for sight in sights)

        def at(sight: Sight) -> HiddenBox:
            try:
                return box.on(self.grid, sight.looker.grid)
            except ValueError as error:  # its patches are larger
                raise NotDrawn(str(error)) from error

        def surprise(sight: Sight, everywhere: bool) -> Iterator[str]:
            yield panels.surprise(sight, at(sight), everywhere)

        def expected(sight: Sight) -> Iterator[str]:
            yield panels.expected(sight, at(sight))

        def resemblance(sight: Sight) -> Iterator[str]:
            yield panels.resemblance(sight, patch.on(self.grid, sight.looker.grid))

        yield "surprise", lambda sight: surprise(sight, known), known
        yield "expected", expected, True
        yield "resemblance", resemblance, True
        if not known:
            yield "surprise", lambda sight: surprise(sight, True), True
        if self.studio.imagine is not None:
            yield "imagined", lambda sight: self._imagined(sight, at(sight)), True

    def _drawn(
        self, kind: Panel, draw: Callable[[Sight], Iterator[str]], sights: Sequence[Sight]
    ) -> Iterator[str]:
        """The panel as its columns become known; what a model cannot do is said in its column."""
        columns = [(sight.looker.name, panels.note("…")) for sight in sights]
        for n, sight in enumerate(sights):
            parts = draw(sight)
            while True:
                try:
                    with self.studio.computing:
                        body = next(parts, None)
                except NotDrawn as error:
                    body, parts = panels.note(str(error)), iter(())
                if body is None:
                    break
                columns[n] = (sight.looker.name, body)
                yield panels.panel(kind, columns)

    def _imagined(self, sight: Sight, box: HiddenBox) -> Iterator[str]:
        imagine, samples = self.studio.imagine, list[Tile]()
        assert imagine is not None
        if sight.looker is not self.studio.lookers[0]:
            raise NotDrawn(f"The decoder belongs to {self.studio.lookers[0].name}.")
        pixels = box.pixels(sight.looker.looking.loaded.encoder.patch)
        for seed in range(sight.looker.looking.settings.imagine.samples):
            samples.extend(imagine(sight.views, pixels, (seed,)))
            yield panels.imagined(sight, box, samples)
