import pytest
import torch
from torch.nn import functional as F

from jepakit.training.monitors.spectrum import (
    cross_picture_cosine,
    effective_rank,
    feature_deviation,
    lidar,
    position_share,
    prediction_gap,
    rank_me,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_effective_rank_of_equal_numbers_is_their_count():
    assert effective_rank(torch.full((7,), 3.0).double()).item() == pytest.approx(7, rel=1e-4)


def test_rank_me_follows_the_paper_formula():
    features = normal(40, 12).double() * torch.arange(1, 13)
    values = torch.linalg.svdvals(features)
    shares = values / values.sum() + 1e-7
    expected = (shares.pow(-shares)).prod()
    assert rank_me(features).item() == pytest.approx(expected.item(), rel=1e-9)


def test_rank_me_of_isotropic_features_is_nearly_their_width():
    assert 15.8 < rank_me(normal(4000, 16)) <= 16.01


def test_rank_me_of_one_direction_is_one():
    assert rank_me(normal(50, 1) @ normal(1, 16)).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rank", [2, 5])
def test_rank_me_of_equal_orthogonal_directions_counts_them(rank):
    basis = torch.linalg.qr(normal(16, 16))[0][:, :rank]
    rows = torch.linalg.qr(normal(64, rank, seed=1))[0]
    assert rank_me(rows @ basis.T).item() == pytest.approx(rank, rel=1e-3)


def test_rank_me_ignores_scale_and_survives_zeros():
    features = normal(30, 8)
    assert rank_me(1000 * features).item() == pytest.approx(rank_me(features).item())
    assert rank_me(torch.zeros(10, 4)).item() == pytest.approx(1, abs=1e-4)


def test_lidar_follows_the_paper_formula():
    samples = normal(20, 5, 6).double() + 2 * normal(20, 1, 6, seed=1)
    means = samples.mean(dim=1)
    between = torch.cov(means.T, correction=0)
    within = (samples - means[:, None]).reshape(-1, 6)
    within = within.T @ within / len(within) + 1e-4 * torch.eye(6)
    values, vectors = torch.linalg.eigh(within)
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    shares = torch.linalg.eigvalsh(root @ between @ root)
    shares = shares / shares.sum() + 1e-7
    expected = torch.exp(-(shares * shares.log()).sum())
    assert lidar(samples).item() == pytest.approx(expected.item(), rel=1e-4)


def test_lidar_of_identical_views_is_the_effective_rank_between_pictures():
    pictures = normal(500, 8)
    samples = pictures[:, None].repeat(1, 4, 1)
    expected = effective_rank(torch.linalg.eigvalsh(torch.cov(pictures.double().T)))
    assert lidar(samples).item() == pytest.approx(expected.item(), rel=1e-3)


def test_lidar_counts_only_directions_that_tell_pictures_apart():
    content = normal(300, 1, 3).repeat(1, 6, 1)
    noise = 5 * normal(300, 6, 5, seed=1)
    samples = torch.cat([content, noise], dim=2)
    assert lidar(samples).item() == pytest.approx(3, abs=0.1)
    assert rank_me(samples.flatten(0, 1)) > 6


def test_lidar_of_one_picture_many_times_is_one():
    assert lidar(torch.ones(10, 3, 4)).item() == pytest.approx(1, abs=1e-3)


def test_deviation_is_averaged_over_features():
    features = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert feature_deviation(features).item() == pytest.approx(2**0.5 / 2)


def test_cosine_leaves_out_a_picture_with_itself():
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    assert cross_picture_cosine(features).item() == pytest.approx(1 / 3)
    assert cross_picture_cosine(torch.ones(4, 3)).item() == pytest.approx(1)


def test_position_share_is_one_for_codes_of_the_place():
    codes = normal(1, 9, 5).repeat(20, 1, 1)
    assert position_share(codes).item() == pytest.approx(1)


def test_position_share_is_one_over_the_pictures_for_pure_content():
    assert position_share(normal(50, 30, 20)).item() == pytest.approx(1 / 50, rel=0.1)
    assert position_share(normal(50, 1, 20).repeat(1, 30, 1)).item() == pytest.approx(0, abs=1e-9)


def test_position_share_of_constant_tokens_is_finite():
    assert position_share(torch.ones(4, 3, 2)).item() == 0


def gap_case() -> tuple[torch.Tensor, torch.Tensor]:
    targets = F.layer_norm(normal(16, 9, 64), (64,))
    indices = torch.stack([torch.randperm(9)[:6].view(2, 3) for _ in range(16)])
    return targets, indices


def chosen(targets: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    pictures = torch.arange(len(targets))[:, None, None]
    return targets[pictures, indices][:, None]


def test_gap_of_a_perfect_predictor_is_near_one():
    targets, indices = gap_case()
    assert prediction_gap(chosen(targets, indices), targets, indices) > 0.9


def test_gap_of_a_predictor_that_knows_the_place_only_is_zero():
    targets, indices = gap_case()
    by_place = targets.mean(dim=0, keepdim=True).expand_as(targets)
    assert prediction_gap(chosen(by_place, indices), targets, indices).item() == pytest.approx(
        0, abs=0.02
    )


def test_gap_of_targets_that_are_positions_is_exactly_zero():
    codes = normal(1, 9, 8).repeat(4, 1, 1)
    indices = torch.tensor([[[0, 3]], [[1, 2]], [[8, 7]], [[5, 5]]])
    assert prediction_gap(chosen(codes, indices), codes, indices).item() == pytest.approx(0)


def test_numbers_do_not_change_under_autocast():
    features = normal(64, 16)
    samples = normal(16, 4, 16)
    exact = rank_me(features), lidar(samples), cross_picture_cosine(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert (rank_me(features), lidar(samples), cross_picture_cosine(features)) == exact
