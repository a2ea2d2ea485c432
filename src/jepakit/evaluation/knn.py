"""k-NN: whether pictures that lie close in feature space carry the same label (Wu et al. 2018)."""

from __future__ import annotations

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
                f"choose neighbours of at most {len(train.values)}"
            )
        keys = F.normalize(train.values.float(), dim=1)
        blocks = F.normalize(values.float(), dim=1).split(max(1, _BLOCK // len(keys)))
        votes = [self._votes(block @ keys.T, train.labels, num_classes) for block in blocks]
        return Predictions(
            {
                f"knn_{k}": torch.cat([found[place] for found in votes])
                for place, k in enumerate(self.settings.neighbours)
            }
        )

    def _votes(self, similarities: Tensor, labels: Tensor, num_classes: int) -> list[Tensor]:
        """The winning class of each row, for every number of neighbours."""
        nearest, places = similarities.topk(max(self.settings.neighbours), dim=1)
        # Relative to the nearest, so that a small temperature does not overflow.
        weights = ((nearest - nearest[:, :1]) / self.settings.temperature).exp()
        winners = []
        for k in self.settings.neighbours:
            votes = weights.new_zeros(len(weights), num_classes)
            votes.scatter_add_(1, labels[places[:, :k]], weights[:, :k])
            winners.append(votes.argmax(dim=1))
        return winners
