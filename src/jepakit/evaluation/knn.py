"""k-NN: whether pictures that lie close in feature space carry the same label (Wu et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from jepakit.core import settings as core
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.judgement import Classification, Predictions

# Numbers in one block of similarities: 128 MB in float32, however many pictures there are.
_BLOCK = 2**25


class NearestNeighbours(Classification):
    """Each of the k most similar training pictures votes with weight exp(cosine / temperature)."""

    class Settings(core.Settings):
        """Numbers of neighbours, each scored as `knn_<k>`, and the sharpness of the vote."""

        kind: Literal["knn"] = "knn"
        neighbours: tuple[int, ...] = Field((10, 20, 100, 200), description="every k to score")
        temperature: float = Field(0.07, gt=0, description="smaller = the nearest decide alone")

        @field_validator("neighbours")
        @classmethod
        def _positive(cls, neighbours: tuple[int, ...]) -> tuple[int, ...]:
            if not neighbours or min(neighbours) < 1:
                raise ValueError("give at least one number of neighbours, each at least 1")
            return neighbours

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    def predict(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> Predictions:
        """Exact neighbours, in blocks, on the device of the features."""
        most = max(self.settings.neighbours)
        if most > len(train.values):
            raise ValueError(
                f"{most} neighbours do not exist among {len(train.values)} training pictures: "
                f"choose at most {len(train.values)}, e.g. knn.neighbours=[{len(train.values)}]"
            )
        found = {
            k: votes.max(dim=1) for k, votes in self.shares(train, num_classes, values).items()
        }
        return Predictions(
            {f"knn_{k}": winner.indices for k, winner in found.items()},
            confidence={f"knn_{k}": winner.values for k, winner in found.items()},
        )

    def shares(
        self, train: Features, num_classes: int, values: Float[Tensor, "B D"]
    ) -> dict[int, Float[Tensor, "B K"]]:
        """Each class's share of the vote, for every number of neighbours."""
        return dict(self._joined(self._blocks(train, num_classes, values)))

    def _blocks(self, train: Features, num_classes: int, values: Tensor) -> Iterator[list[Tensor]]:
        """What `_votes` says of some rows at a time."""
        last = train.last().values
        keys = _directions(last)
        rows = _directions(values[:, -last.shape[1] :])
        for block in rows.split(max(1, _BLOCK // len(keys))):
            yield self._votes(block @ keys.T, train.labels, num_classes)

    def _joined(self, blocks: Iterable[list[Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """Each number of neighbours, with what was found for all rows."""
        columns = zip(*blocks, strict=True)
        for k, found in zip(self.settings.neighbours, columns, strict=True):
            yield k, torch.cat(found)

    def _votes(self, similarities: Tensor, labels: Tensor, num_classes: int) -> list[Tensor]:
        """Each class's share of the vote per row, for every number of neighbours."""
        nearest, places = similarities.topk(max(self.settings.neighbours), dim=1)
        # Relative to the nearest, so that a small temperature does not overflow.
        weights = ((nearest - nearest[:, :1]) / self.settings.temperature).exp()
        shares = []
        for k in self.settings.neighbours:
            votes = weights.new_zeros(len(weights), num_classes)
            votes.scatter_add_(1, labels[places[:, :k]], weights[:, :k])
            shares.append(votes / votes.sum(dim=1, keepdim=True))
        return shares


def _directions(values: Tensor) -> Tensor:
    """Rows of length 1, in float32 or better."""
    return F.normalize(values.to(torch.promote_types(values.dtype, torch.float32)), dim=1)
