"""What one model sees in one picture: surprise, expectations, resemblance, for any hidden box."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from jepakit.data.sources.source import Picture
from jepakit.data.views import CentreView
from jepakit.models.positions import Grid
from jepakit.runs.model_inputs import ModelInputs
from jepakit.runs.seeing.energy import DISTANCES, Trio
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.maps import content
from jepakit.runs.seeing.retrieval import EncodedGallery, Retrieved, retrieve_among
from jepakit.runs.studio.box import ChosenPatch, HiddenBox
from jepakit.visualization import token_colours
from jepakit.visualization.tiles import Tile, to_colour
from jepakit.visualization.token_maps import foreground_scores, similarities


@dataclass(frozen=True)
class Looker:
    """A model, and what it knows of other pictures: made once, at the first picture that needs it.

    `looking` names the pictures that are examples, and from which the gallery is drawn.
    """

    name: str
    looking: Looking

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        return self.looking.grid

    @cached_property
    def view(self) -> CentreView:
        """How a picture becomes what the network sees."""
        return ModelInputs(self.looking.loaded).centre_view(self.looking.size)

    @cached_property
    def trio(self) -> Trio:
        """The networks that predict. `NotDrawn` where one is missing."""
        return self.looking.trio()

    @cached_property
    def gallery(self) -> UInt8[Tensor, "G C H W"]:
        """Other pictures, whose blocks show what is expected."""
        return self.looking.others(self.looking.settings.retrieval.gallery, "gallery")

    @cached_property
    def gallery_tiles(self) -> UInt8[np.ndarray, "G H W 3"]:
        """The same, to draw."""
        return to_colour(self.gallery)

    @cached_property
    def encoded_gallery(self) -> EncodedGallery:
        """Their representations. `NotDrawn`."""
        return EncodedGallery.of(self.trio, self.gallery)

    @cached_property
    def usual_tokens(self) -> Float[Tensor, "G N D"]:
        """Tokens of further pictures: what is usual, and a basis for colours."""
        return self.tokens(self.looking.usual)

    def tokens(self, views: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """The last layer's tokens, on the grid that `finer_grid` tells."""
        encoder = next(iter(self.looking.encoders.values()))
        return self.looking.tokens(encoder, -1, views, self.looking.finer())

    @property
    def finer_grid(self) -> Grid:
        """The grid of maps, which small grids are refined to."""
        finer = self.looking.finer()
        return self.grid[0] * finer, self.grid[1] * finer

    @cached_property
    def usual_surprise(self) -> Float[np.ndarray, " M"]:
        """Energies of further pictures when their middle is hidden. `NotDrawn`."""
        views, hidden = self.looking.usual, HiddenBox.middle(self.grid).places(self.grid)
        truth = self.trio.truth(views)[:, hidden]
        return self.distances(self.trio.predicted(views, hidden), truth).flatten().cpu().numpy()

    def distances(
        self, predicted: Float[Tensor, "B L D"], truth: Float[Tensor, "B L D"]
    ) -> Float[Tensor, "B L"]:
        """Energy, by the distance that is asked for."""
        return DISTANCES[self.looking.settings.energy.distance](predicted, truth)

    def see(self, picture: Picture) -> Sight:
        """The middle of the picture, as the network takes it."""
        return Sight(self, self.view(picture)[None])


@dataclass(frozen=True)
class Sight:
    """One picture before one model; what does not depend on the box is computed once."""

    looker: Looker
    views: UInt8[Tensor, "1 C H W"]
    _predicted: dict[HiddenBox, Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def tile(self) -> Tile:
        """What the network sees, to draw."""
        return to_colour(self.views)[0]

    @cached_property
    def energy(self) -> Float[np.ndarray, "rows columns"]:
        """Surprise at every place, over many hidden blocks. `NotDrawn`."""
        return self.looker.trio.energy(self.views, self.looker.looking.settings.energy)[0]

    @cached_property
    def truth(self) -> Float[Tensor, "1 N D"]:
        """Representations of the whole picture. `NotDrawn`."""
        return self.looker.trio.truth(self.views)

    def predicted(self, box: HiddenBox) -> Float[Tensor, "1 L D"]:
        """What the predictor expects in the box; of the last box it is remembered. `NotDrawn`."""
        if box not in self._predicted:
            found = self.looker.trio.predicted(self.views, box.places(self.looker.grid))
            self._predicted.clear()
            self._predicted[box] = found
        return self._predicted[box]

    def surprise(self, box: HiddenBox) -> Float[np.ndarray, "rows columns"]:
        """Energy at each patch of the box, when exactly the box is hidden. `NotDrawn`."""
        truth = self.truth[:, box.places(self.looker.grid)]
        energy = self.looker.distances(self.predicted(box), truth)
        return energy[0].view(box.height, box.width).cpu().numpy()

    def expected(self, box: HiddenBox) -> Retrieved:
        """The gallery's blocks that are nearest to the prediction, and to the truth. `NotDrawn`."""
        looker, hidden = self.looker, box.places(self.looker.grid)
        return retrieve_among(
            looker.encoded_gallery,
            self.predicted(box),
            self.truth[:, hidden],
            hidden,
            looker.grid,
            looker.looking.settings.retrieval.neighbours,
        )

    @cached_property
    def tokens(self) -> Float[Tensor, "1 N D"]:
        """Tokens of maps, on the finer grid."""
        return self.looker.tokens(self.views)

    @cached_property
    def standing_out(self) -> ChosenPatch:
        """The patch that is least like the background."""
        rows, columns = self.looker.grid
        scores = foreground_scores(self._content(self.tokens), self.looker.finer_grid)
        patches = scores.view(rows, self.looker.looking.finer(), columns, -1).mean(dim=(1, 3))
        return ChosenPatch(*divmod(int(patches.argmax()), columns))

    def resembling(self, patch: ChosenPatch) -> Float[np.ndarray, "rows columns"]:
        """The cosine of a patch with every place of the finer grid."""
        rows, columns = self.looker.finer_grid
        finer = self.looker.looking.finer()
        place = (patch.row * finer + finer // 2) * columns + patch.column * finer + finer // 2
        found = similarities(self._content(self.tokens), torch.tensor([place]))
        return found.view(rows, columns).numpy()

    @cached_property
    def colours(self) -> Tile:
        """The tokens' first three principal components, in a basis that other pictures share."""
        tokens = self._content(torch.cat([self.tokens, self.looker.usual_tokens]))
        colours = token_colours(tokens, self.looker.finer_grid)[0]
        return (255 * colours).round().byte().numpy()

    def _content(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        without = self.looker.looking.settings.maps.without
        usual = self.looker.usual_tokens.mean(dim=0) if "place" in without else None
        return content(tokens, usual, "picture" in without)
