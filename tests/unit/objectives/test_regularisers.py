"""The terms against collapse, against plain loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from jepakit.objectives.regularisers import (
    RegulariserSettings,
    covariance,
    gaussianity,
    regulariser,
    variance,
)


@pytest.fixture
def pooled() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(9, 5) * torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0]) + 4


def test_variance_is_the_hinge_on_each_features_deviation(pooled: torch.Tensor) -> None:
    expected = 0.0
    for feature in pooled.T.double().tolist():
        mean = sum(feature) / 9
        deviation = math.sqrt(sum((x - mean) ** 2 for x in feature) / 8 + 1e-4)
        expected += max(0.0, 1 - deviation) / 5
    assert expected > 0.1
    assert variance(pooled).item() == pytest.approx(expected, rel=1e-5)
    assert variance(pooled * 100).item() == 0


def test_covariance_is_the_mean_of_what_lies_off_the_diagonal(pooled: torch.Tensor) -> None:
    rows = pooled.double().tolist()
    means = [sum(column) / 9 for column in zip(*rows, strict=True)]
    expected = 0.0
    for i in range(5):
        for j in range(5):
            if i != j:
                products = ((row[i] - means[i]) * (row[j] - means[j]) for row in rows)
                expected += (sum(products) / 8) ** 2 / 5
    assert covariance(pooled).item() == pytest.approx(expected, rel=1e-4)
    independent = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert covariance(independent).item() == pytest.approx(0, abs=1e-6)


def test_terms_do_not_depend_on_the_mean(pooled: torch.Tensor) -> None:
    for term in (variance, covariance):
        torch.testing.assert_close(term(pooled + 3), term(pooled), rtol=1e-3, atol=1e-5)


def test_gaussianity_of_normal_samples_has_its_expected_value() -> None:
    """For N samples the mean of |phi_N - phi|^2 is (1 - phi^2) / N; the integral is known."""
    torch.manual_seed(0)
    values = [gaussianity(torch.randn(400, 8), 200).item() for _ in range(20)]
    expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    assert sum(values) / 20 == pytest.approx(expected, rel=0.1)


def test_gaussianity_of_collapsed_samples_has_its_closed_form() -> None:
    value = gaussianity(torch.zeros(50, 4), 16).item()
    expected = 50 * math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    assert value == pytest.approx(expected, rel=1e-3)


def test_gaussianity_tells_distributions_apart() -> None:
    torch.manual_seed(0)
    samples = 2000
    normal = gaussianity(torch.randn(samples, 1), 4).item()
    # Of one feature and the same mean and variance, but another shape:
    two_points = gaussianity(torch.randint(2, (samples, 1)) * 2.0 - 1, 4).item()
    uniform = gaussianity((torch.rand(samples, 1) - 0.5) * math.sqrt(12), 4).item()
    shifted = gaussianity(torch.randn(samples, 1) + 0.5, 4).item()
    line = gaussianity(torch.randn(samples, 1).expand(-1, 8), 64).item()
    collapsed = gaussianity(torch.full((samples, 1), 0.3), 4).item()
    assert normal < 4
    assert uniform > 2 * normal
    assert min(two_points, shifted, line, collapsed) > 20 * normal


def test_descending_gaussianity_makes_samples_normal() -> None:
    torch.manual_seed(0)
    rows = torch.nn.Parameter(torch.randn(64, 3) * 0.1 + 1)
    optimizer = torch.optim.Adam([rows], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        gaussianity(rows, 16).backward()
        optimizer.step()
    assert rows.mean(dim=0).abs().max() < 0.2
    assert (rows.std(dim=0) - 1).abs().max() < 0.2


def test_the_paper_has_no_term() -> None:
    assert regulariser(RegulariserSettings()) is None
    assert regulariser(RegulariserSettings(kind="vicreg", weight=0)) is None


def test_settings_choose_the_term(pooled: torch.Tensor) -> None:
    vicreg = regulariser(RegulariserSettings(kind="vicreg", covariance=0.5))
    assert vicreg(pooled).item() == pytest.approx(
        (variance(pooled) + 0.5 * covariance(pooled)).item()
    )
    sigreg = regulariser(RegulariserSettings(kind="sigreg", num_directions=7))
    torch.manual_seed(4)
    found = sigreg(pooled)
    torch.manual_seed(4)
    assert found.item() == pytest.approx(gaussianity(pooled, 7).item())


@pytest.mark.parametrize("kind", ["vicreg", "sigreg"])
def test_terms_are_computed_in_fp32_whatever_comes_in(kind: str, pooled: torch.Tensor) -> None:
    term = regulariser(RegulariserSettings(kind=kind, num_directions=7))
    rounded = pooled.bfloat16()
    torch.manual_seed(0)
    exact = term(rounded.float())
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        found = term(rounded)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)


@pytest.mark.parametrize("kind", ["vicreg", "sigreg"])
def test_one_picture_is_too_few(kind: str) -> None:
    term = regulariser(RegulariserSettings(kind=kind))
    with pytest.raises(ValueError, match=r"at least 2 pictures per micro-batch: raise batch\.size"):
        term(torch.randn(1, 4))
