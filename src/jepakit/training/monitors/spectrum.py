"""How much features say: their effective rank, their spread, and how much of them is only place.

Every function computes in float64, which autocast leaves alone, and stays finite on features that
are all the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from jepakit.models.tokens import take_tokens

# Both papers add it to every share of the spectrum before taking logarithms.
_SHARE_FLOOR = 1e-7
# Added to the within-picture scatter so that it can be inverted (LiDAR, section 4).
_SCATTER_FLOOR = 1e-4
_SMALLEST = torch.finfo(torch.float64).tiny


def effective_rank(spectrum: Float[Tensor, " R"]) -> Float[Tensor, ""]:
    """exp(entropy) of non-negative numbers taken as shares: R when equal, 1 when one rules."""
    shares = spectrum / spectrum.sum().clamp_min(_SMALLEST) + _SHARE_FLOOR
    return torch.exp(-(shares * shares.log()).sum())


def rank_me(features: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Effective rank of the features, between 1 and min(B, D) (RankMe, Garrido et al. 2023)."""
    return effective_rank(torch.linalg.svdvals(features.double()))


def lidar(samples: Float[Tensor, "B V D"]) -> Float[Tensor, ""]:
    """Effective rank of what tells B pictures apart, in units of how V views of one differ.

    The spectrum of S_w^-1/2 S_b S_w^-1/2 with S_w + 1e-4 I (LiDAR, Thilak et al. 2024). It is read
    off the B x B matrix with the same non-zero eigenvalues, which needs no D x D square root.
    """
    means = samples.double().mean(dim=1)  # B D
    within = (samples.double() - means[:, None]).flatten(0, 1)
    between = means - means.mean(dim=0)
    scatter = within.T @ within / len(within)
    scatter.diagonal().add_(_SCATTER_FLOOR)
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(scatter), between.T, upper=False
    )  # D B
    eigenvalues = torch.linalg.eigvalsh(whitened.T @ whitened / len(between))
    return effective_rank(eigenvalues.clamp_min(0))


def feature_deviation(features: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Standard deviation across pictures, averaged over the features."""
    return features.double().std(dim=0).mean()


def cross_picture_cosine(features: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Mean cosine between the features of two different pictures."""
    directions = F.normalize(features.double(), dim=1)
    num_pictures = len(directions)
    all_pairs = directions.sum(dim=0).square().sum()
    own_pairs = directions.square().sum()
    return (all_pairs - own_pairs) / (num_pictures * (num_pictures - 1))


def position_share(tokens: Float[Tensor, "B N D"]) -> Float[Tensor, ""]:
    """Share of the tokens' variance that the mean token of each position explains.

    1 when tokens depend on their place only; about 1 / B when the place tells nothing.
    """
    centred = tokens.double()
    centred = centred - centred.mean(dim=(0, 1))
    explained = centred.mean(dim=0).square().mean()
    return explained / centred.square().mean().clamp_min(_SMALLEST)


def target_cosines(
    predictions: Float[Tensor, "B J M L D"],
    targets: Float[Tensor, "B N D"],
    indices: Int[Tensor, "B M L"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean cosine of predictions with their own target, and with another picture's at that place.

    `targets` are the tokens of the full grid, `indices` the predicted places; B is at least 2.
    """
    assert len(targets) > 1, "another picture's target needs at least two pictures"

    def cosine(grids: Tensor) -> Tensor:
        wanted = take_tokens(grids, indices)[:, None]  # B 1 M L D
        return F.cosine_similarity(predictions.double(), wanted.double(), dim=-1).mean()

    return cosine(targets), cosine(targets.roll(1, dims=0))


def prediction_gap(
    predictions: Float[Tensor, "B J M L D"],
    targets: Float[Tensor, "B N D"],
    indices: Int[Tensor, "B M L"],
) -> Float[Tensor, ""]:
    """cos(prediction, own target) - cos(prediction, another picture's target at the same place).

    0 when predictions tell nothing but the place. Arguments as in `target_cosines`.
    """
    own, other = target_cosines(predictions, targets, indices)
    return own - other
