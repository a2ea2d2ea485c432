"""A model and the pictures it looks at: what every drawing begins with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.core.devices import Precision, autocast
from jepakit.data.loader import evaluation_loader
from jepakit.data.sources import Source
from jepakit.evaluation.features import Reading, evaluating
from jepakit.masking import Masking, MultiBlock, build_masking
from jepakit.models import Encoder
from jepakit.models.backbone import Backbone
from jepakit.models.positions import Grid
from jepakit.pretrained.timm import TimmBackbone
from jepakit.runs.loaded import Loaded
from jepakit.runs.seeing.decoder import Decoder
from jepakit.runs.seeing.energy import Trio
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.visualization import Film, Section
from jepakit.visualization.tiles import Tile

_NUM_USUAL = 32
# Entered with the name of long work, it gives what is told (done, in all) as the work goes on.
Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@contextmanager
def uncounted(name: str) -> Iterator[Callable[[int, int], None]]:
    """Nobody wants to know how far the work is."""
    yield lambda done, total: None


class NotDrawn(ValueError):
    """One part cannot be drawn of this model; the sentence says what is missing."""


def ticking(count: Callable[[int, int], None], total: int) -> Callable[[], None]:
    """What is called after each of so many steps."""
    number = itertools.count(1)
    count(0, total)
    return lambda: count(next(number), total)


@dataclass(frozen=True)
class Shown:
    """One part of the page, and the same drawings as files."""

    sections: Sequence[Section]
    sheets: Mapping[str, Tile | Film] = field(default_factory=dict)
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Looking:
    """A model, a source of pictures, and the pictures that are drawn."""

    loaded: Loaded
    source: Source
    size: tuple[int, int]
    settings: SeeingSettings
    device: torch.device
    precision: Precision
    decoder: Decoder | None = None  # for imagined contents
    counting: Counting = uncounted
    origin: str = ""  # which pictures these are, in words

    @property
    def places(self) -> list[int]:
        """Which pictures are drawn, in order; broken ones are left out. `ValueError` if all are."""
        return self._drawn[0]

    @property
    def pictures(self) -> UInt8[Tensor, "B C H W"]:
        """Centre views of the pictures that are drawn. `ValueError` if none can be read."""
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[list[int], UInt8[Tensor, "B C H W"]]:
        number = min(self.settings.num_pictures, len(self.source))
        places = sorted(self.source.some(number, self.settings.seed, "visualize").tolist())
        return self._read(places)

    @cached_property
    def usual(self) -> UInt8[Tensor, "B C H W"]:
        """Further pictures that tell what is usual at each place."""
        return self.others(_NUM_USUAL, "usual")

    def others(self, most: int, name: str) -> UInt8[Tensor, "B C H W"]:
        """Up to `most` further pictures, none of which is drawn where there are enough."""
        wanted = self.source.some(most + len(self.places), self.settings.seed, name).tolist()
        apart = [index for index in wanted if index not in set(self.places)][:most]
        return self.read(apart or self.places)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        """The centre views at these places; broken pictures are left out."""
        return self._read(indices)[1]

    def _read(self, indices: Sequence[int]) -> tuple[list[int], UInt8[Tensor, "B C H W"]]:
        stream = evaluation_loader(self.source, self.size, indices)
        found = [(views, readable) for views, _, readable in stream]
        if not found:
            reason = next(iter(stream.broken.items()), ("", "it is empty"))
            raise ValueError(f"no picture of {self.source.name(0)} … can be read: {reason[1]}")
        views, readable = (torch.cat(parts) for parts in zip(*found, strict=True))
        return readable.tolist(), views

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        return self.loaded.encoder.rows_and_columns(*self.size)

    @property
    def encoders(self) -> dict[str, Backbone]:
        """The encoders that are there, the evaluated one first."""
        both: dict[str, Backbone | None] = {
            "target": self.loaded.target_encoder,
            "context": self.loaded.context_encoder,
        }
        found = {name: encoder for name, encoder in both.items() if encoder is not None}
        return found or {self.loaded.branch or "encoder": self.loaded.encoder}

    @cached_property
    def masking(self) -> Masking:
        """The sampler that is asked for, the run's own, or the paper's."""
        trained = self.loaded.trained
        usual = trained.config.masking if trained else MultiBlock.Settings()
        return build_masking(self.settings.masking or usual, self.grid)

    def tokens(
        self, encoder: Backbone, layer: int, views: Tensor, finer: int = 1
    ) -> Float[Tensor, "B N D"]:
        """A layer's tokens on the CPU; with `finer`, of that many times the rows and columns."""
        reading = Reading((layer,), "none")
        parts = []
        for chunk in views.split(max(1, 64 // finer**2)):
            with self.looking(encoder):
                inputs = self.enlarged(chunk, finer)
                parts.append(reading(encoder, inputs).float().cpu())
        tokens = torch.cat(parts)
        if not tokens.isfinite().all():
            raise ValueError(
                f"{self.loaded.name} gives tokens that are not finite: the run has diverged, name "
                "one of its earlier checkpoints"
            )
        return tokens

    def enlarged(self, views: Tensor, finer: int = 1) -> Float[Tensor, "B C H W"]:
        """The views as a network takes them."""
        inputs = self.loaded.normalise(views.to(self.device))
        if finer > 1:
            inputs = F.interpolate(inputs, scale_factor=finer, mode="bicubic", align_corners=False)
        return inputs

    @contextmanager
    def looking(self, *networks: nn.Module) -> Iterator[None]:
        """Within it networks are in eval mode, without gradients, in the device's precision."""
        together = nn.ModuleList(networks)
        with torch.no_grad(), evaluating(together), autocast(self.device, self.precision):
            yield

    def finer(self) -> int:
        """How much maps are refined: timm's models take pictures of one size only."""
        if isinstance(self.loaded.encoder, TimmBackbone):
            return 1
        return self.settings.maps.finer or (2 if min(self.grid) < 12 else 1)

    def trio(self) -> Trio:
        """The networks that predict. `NotDrawn` where one is missing."""
        loaded = self.loaded
        named = {
            "predictor": loaded.predictor,
            "context encoder": loaded.context_encoder,
            "target encoder": loaded.target_encoder,
        }
        lacking = [name for name, network in named.items() if network is None]
        if lacking:
            raise NotDrawn(
                f"{loaded.name} holds no {' and no '.join(lacking)}: give a run folder or a "
                ".pth.tar file, which hold all three networks"
            )
        context, target, predictor = (
            loaded.context_encoder,
            loaded.target_encoder,
            loaded.predictor,
        )
        assert isinstance(context, Encoder)
        assert isinstance(target, Encoder)
        assert predictor is not None
        return Trio(context, target, predictor, loaded.normalise, self.device, self.precision)
