"""The networks of a model as they were before they learned: a control for what is drawn of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from jepakit.models import Encoder, Predictor
from jepakit.runs.seeing.energy import Trio
from jepakit.runs.seeing.looking import Looking


def untrained_trio(looking: Looking) -> Trio:
    """Networks of the same architecture with random weights; both encoders are the same."""
    trained, trio = looking.loaded.trained, looking.trio()
    if trained is not None:
        parts = dict(trained.untrained().objective.named_children())
        encoder, predictor = parts["context_encoder"], parts["predictor"]
        assert isinstance(encoder, Encoder)
        assert isinstance(predictor, Predictor)
    else:
        torch.manual_seed(0)
        like = trio.context_encoder
        encoder = Encoder(like.settings, like.num_channels, like.picture)
        predictor = Predictor(trio.predictor.settings, encoder)
    encoder, predictor = encoder.to(looking.device), predictor.to(looking.device)
    return replace(
        trio,
        context_encoder=encoder,
        target_encoder=copy.deepcopy(encoder),
        predictor=predictor,
    )
