import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from jepakit.commands.bench_evaluate import synthetic_features
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import Scaling, classify, held_out
from jepakit.evaluation.judgement import Measurements
from jepakit.evaluation.linear_probe import LinearProbe, RidgeProbe
from jepakit.evaluation.logistic_regression import LogisticProblem

NUM_CLASSES = 4


def correlated(num: int, width: int, seed: int) -> Features:
    """Overlapping classes; features of very different sizes that depend on each other."""
    random = torch.Generator().manual_seed(99)
    mixing = torch.randn(width, width, generator=random) / torch.arange(1, width + 1)[:, None]
    centres = torch.randn(NUM_CLASSES, width, generator=random) * 0.4
    random.manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (num,), generator=random)
    values = (centres[labels] + torch.randn(num, width, generator=random)) @ mixing + 3
    return Features(values, labels)


def scikit_learn(train: Features, l2: float) -> tuple[StandardScaler, LogisticRegression]:
    scaler = StandardScaler().fit(train.values.double().numpy())
    model = LogisticRegression(
        C=1 / (l2 * len(train.labels)), solver="newton-cg", tol=1e-10, max_iter=1000
    )
    return scaler, model.fit(scaler.transform(train.values.double().numpy()), train.labels.numpy())


@pytest.mark.parametrize("width", [12, 100])  # fewer and more features than pictures
@pytest.mark.parametrize("l2", [1.0, 0.01, 0.0001])
def test_weights_agree_with_scikit_learn(width: int, l2: float) -> None:
    train = correlated(80, width, 0)
    _, model = scikit_learn(train, l2)
    scaled = Scaling.of(train.values)(train.values)
    problem = LogisticProblem.of(scaled, train.labels, NUM_CLASSES)
    weights = problem.solve(l2, tolerance=1e-6)
    np.testing.assert_allclose(weights[:-1].T.numpy(), model.coef_, atol=1e-3, rtol=1e-3)
    intercepts = model.intercept_ - model.intercept_.mean()
    np.testing.assert_allclose(weights[-1].numpy(), intercepts, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("l2", [0.1, 0.001])
def test_accuracy_agrees_with_scikit_learn(l2: float) -> None:
    train, test = correlated(400, 30, 0), correlated(2000, 30, 1)
    scaler, model = scikit_learn(train, l2)
    theirs = model.score(scaler.transform(test.values.double().numpy()), test.labels.numpy())
    ours = LinearProbe(LinearProbe.Settings(l2=(l2,))).score(train, test)
    assert ours["linear_l2"] == l2
    assert abs(ours["linear"] - theirs) <= 0.001


def test_where_it_starts_does_not_matter() -> None:
    train = correlated(200, 12, 0)
    scaled = Scaling.of(train.values)(train.values)
    problem = LogisticProblem.of(scaled, train.labels, NUM_CLASSES)
    cold = problem.solve(0.001, tolerance=1e-6)
    warm = problem.solve(0.001, problem.solve(1.0), tolerance=1e-6)
    torch.testing.assert_close(cold, warm, atol=1e-4, rtol=1e-4)


def test_all_strengths_at_once_are_each_alone() -> None:
    train = correlated(400, 30, 0)
    problem = LogisticProblem.of(Scaling.of(train.values)(train.values), train.labels, NUM_CLASSES)
    strengths = (1.0, 0.01, 0.0001)
    together = problem.solve_all(strengths, tolerance=1e-6)
    alone = torch.stack([problem.solve(l2, tolerance=1e-6) for l2 in strengths])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_gradient_is_that_of_the_loss_and_blocks_do_not_change_it() -> None:
    train = correlated(5000, 7, 0)  # several blocks
    design = Scaling.of(train.values)(train.values).double()
    problem = LogisticProblem.of(design, train.labels, NUM_CLASSES)
    drawn = torch.randn(2, NUM_CLASSES, 8, generator=torch.Generator().manual_seed(0)).double()
    weights = drawn.requires_grad_()
    expected = torch.stack(
        [F.cross_entropy(problem.design @ one.T, train.labels) for one in weights]
    )
    expected.sum().backward()
    losses, gradient, curvature = problem.loss(weights.detach())
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, weights.grad)
    shares = (problem.design @ weights.detach().transpose(1, 2)).softmax(dim=2)
    uncertain = (shares * (1 - shares)).mean(dim=1).sum(dim=1) / (NUM_CLASSES - 1)
    torch.testing.assert_close(curvature, uncertain)


def test_float32_at_the_benchmark_s_kind_of_features_agrees_to_a_tenth_of_a_point() -> None:
    train = synthetic_features(12_000, 96, NUM_CLASSES, "train")  # too many to be float64
    test = synthetic_features(4_000, 96, NUM_CLASSES, "test")
    scaling = Scaling.of(train.values)
    scaled, judged = scaling(train.values), scaling(test.values)
    problem = LogisticProblem.of(scaled, train.labels, NUM_CLASSES)
    assert problem.design.dtype == torch.float32
    strengths = LinearProbe.Settings().l2
    for l2, weights in zip(strengths, problem.solve_all(strengths), strict=True):
        model = LogisticRegression(C=1 / (l2 * 12_000), tol=1e-8, max_iter=1000)
        model.fit(scaled.double().numpy(), train.labels.numpy())
        theirs = model.score(judged.double().numpy(), test.labels.numpy())
        ours = (classify(weights, judged) == test.labels).double().mean().item()
        assert abs(ours - theirs) <= 0.001


def test_the_sweep_finds_the_strength_that_predicts_best() -> None:
    # Few pictures and mostly noise: weak penalties fit the noise.
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (1200,), generator=random)
    values = torch.randn(1200, 100, generator=random)
    values[:, 0] += 1.5 * (labels * 2 - 1)
    train, test = Features(values[:200], labels[:200]), Features(values[200:], labels[200:])
    swept = LinearProbe().score(train, test)
    weak = LinearProbe(LinearProbe.Settings(l2=(0.0001,))).score(train, test)
    assert swept["linear_l2"] >= 0.1
    assert swept["linear"] > weak["linear"] + 0.02


def test_a_constant_feature_changes_nothing() -> None:
    train, test = correlated(200, 12, 0), correlated(200, 12, 1)

    def widened(features: Features, constant: float) -> Features:
        column = torch.full((len(features.values), 1), constant)
        return Features(torch.cat([features.values, column], dim=1), features.labels)

    expected = LinearProbe().judge(train, test).predictions["linear"]
    # 0.1 has no exact mean in float32; another constant in the test split must not matter either.
    found = LinearProbe().judge(widened(train, 0.1), widened(test, 50.0)).predictions["linear"]
    torch.testing.assert_close(found, expected)


def test_a_scaling_gives_mean_0_and_deviation_1() -> None:
    values = correlated(200, 12, 0).values
    expected = StandardScaler().fit_transform(values.double().numpy())
    np.testing.assert_allclose(Scaling.of(values)(values).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_takes_its_share_of_every_class_and_leaves_some(seed: int) -> None:
    labels = torch.tensor([0] * 500 + [1] * 100 + [2] * 20 + [3])
    held = held_out(labels, 0.2, seed)
    counts = torch.bincount(labels[held], minlength=4)
    assert abs(int(counts[0]) - 100) <= 1
    assert abs(int(counts[1]) - 20) <= 1
    assert abs(int(counts[2]) - 4) <= 1
    assert counts[3] == 0


def test_held_out_is_random_by_seed() -> None:
    labels = torch.zeros(100, dtype=torch.long)
    assert held_out(labels, 0.2, 0).equal(held_out(labels, 0.2, 0))
    assert not held_out(labels, 0.2, 0).equal(held_out(labels, 0.2, 1))


def test_too_few_pictures_to_hold_out_is_refused() -> None:
    train = Features(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match="3 training pictures of 3 classes are too few"):
        LinearProbe().score(train, train)


def test_strengths_are_checked_and_ordered() -> None:
    assert LinearProbe.Settings(l2=(0.01, 1.0)).l2 == (1.0, 0.01)
    with pytest.raises(ValidationError, match="above 0"):
        LinearProbe.Settings(l2=(0.0,))


def measured(num: int, seed: int, noise: float) -> Measurements:
    random = torch.Generator().manual_seed(99)
    weights = torch.randn(8, 2, generator=random)
    random.manual_seed(seed)
    values = torch.randn(num, 8, generator=random) * torch.arange(1, 9) + 2
    error = noise * torch.randn(num, 2, generator=random)
    return Measurements(values, values @ weights + error + 5)


def test_ridge_reads_off_what_is_linear() -> None:
    scores = RidgeProbe().score(measured(300, 0, 0.0), measured(300, 1, 0.0))
    assert scores["r2"] > 0.9999
    assert scores["ridge_l2"] == 0.0001


def test_ridge_knows_nothing_of_noise() -> None:
    train, test = measured(300, 0, 0.0), measured(300, 1, 0.0)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    scores = RidgeProbe().score(Measurements(train.values, train.targets[order]), test)
    assert -0.2 < scores["r2"] < 0.05
    assert scores["ridge_l2"] > 0.0001


def test_ridge_agrees_with_scikit_learn() -> None:
    train, test = measured(300, 0, 20.0), measured(300, 1, 20.0)
    scaler = StandardScaler().fit(train.values.numpy())
    model = Ridge(alpha=0.1 * 300).fit(scaler.transform(train.values.numpy()), train.targets)
    expected = model.score(scaler.transform(test.values.numpy()), test.targets.numpy())
    found = RidgeProbe(RidgeProbe.Settings(l2=(0.1,))).judge(train, test)
    assert found.scores()["r2"] == pytest.approx(expected, abs=1e-4)
    assert len(found.marks["r2"]) == 300


def test_ridge_refuses_a_constant_target() -> None:
    train = measured(300, 0, 0.0)
    test = Measurements(train.values, torch.ones(300, 2))
    with pytest.raises(ValueError, match="same in all test pictures"):
        RidgeProbe().score(train, test)
