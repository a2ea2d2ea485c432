"""A small classifier of cut-outs of scenes: which shape and colour stands where in a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.data.sources.scenes.description import COLOURS, SHAPES
from jepakit.runs.seeing.hidden_objects import HiddenObject

_SIDE = 24  # pixels of what the judge looks at
_BATCH = 64
NEAR = 0.2  # of the box's side: a centre this near is at the right place


@dataclass(frozen=True)
class Answers:
    """What stands in each box, as numbers of `SHAPES` and `COLOURS`, and the object's centre."""

    shape: Int[Tensor, " B"]
    colour: Int[Tensor, " B"]
    centre: Float[Tensor, "B 2"]  # row, column, 0 to 1

    @staticmethod
    def of(objects: Sequence[HiddenObject]) -> Answers:
        """The truth."""
        return Answers(
            torch.tensor([o.shape for o in objects]),
            torch.tensor([o.colour for o in objects]),
            torch.tensor([o.centre for o in objects]),
        )

    def right(self, truth: Answers) -> dict[str, Bool[Tensor, " B"]]:
        """Which of the answers are right."""
        return {
            "colour": self.colour == truth.colour,
            "shape": self.shape == truth.shape,
            "place": (self.centre - truth.centre).norm(dim=1) <= NEAR,
        }


class Judge(nn.Module):
    """Convolutions on cut-outs of boxes, trained on real ones by `train_judge`."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        self.layers = nn.Sequential(
            *(
                part
                for few, many in pairwise(widths)
                for part in (
                    nn.Conv2d(few, many, 3, padding=1),
                    nn.GroupNorm(8, many),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
            ),
            nn.Flatten(),
            nn.LazyLinear(128),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(128, len(SHAPES) + len(COLOURS) + 2),
        )

    def forward(self, boxes: UInt8[Tensor, "B 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of shapes, logits of colours, centres."""
        small = F.interpolate(boxes.float() / 127.5 - 1, (_SIDE, _SIDE), mode="bilinear")
        shape, colour, centre = self.layers(small).split([len(SHAPES), len(COLOURS), 2], dim=1)
        return shape, colour, centre.sigmoid()

    @torch.no_grad()
    def answers(self, boxes: UInt8[Tensor, "B 3 h w"]) -> Answers:
        """What it sees in each box."""
        parts = [self(chunk) for chunk in boxes.split(256)]
        shape, colour, centre = (torch.cat(list(p)) for p in zip(*parts, strict=True))
        return Answers(shape.argmax(1), colour.argmax(1), centre)


def cut_outs(objects: Sequence[HiddenObject]) -> UInt8[Tensor, "B 3 h w"]:
    """The true pixels in the boxes."""
    found = []
    for item in objects:
        top, left, height, width = item.box
        found.append(item.picture[top : top + height, left : left + width])
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def train_judge(
    objects: Sequence[HiddenObject],
    epochs: int = 15,
    seed: int = 0,
    count: Callable[[int, int], None] = lambda done, total: None,
) -> Judge:
    """A judge that has learned from these boxes; the same for the same seed.

    `count` is told (done, in all) as it learns.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge()
        boxes, truth = cut_outs(objects), Answers.of(objects)
        judge(boxes[:2])
        steps = max(1, epochs * len(objects) // _BATCH)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
        for step in range(steps):
            count(step, steps)
            chosen = torch.randint(len(objects), (_BATCH,))
            shape, colour, centre = judge(boxes[chosen])
            loss = F.cross_entropy(shape, truth.shape[chosen])
            loss = loss + F.cross_entropy(colour, truth.colour[chosen])
            loss = loss + 10 * F.mse_loss(centre, truth.centre[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval()
