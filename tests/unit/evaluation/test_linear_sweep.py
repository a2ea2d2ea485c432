import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from jepakit.core.randomness import generator
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.fitting import held_out
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe
from jepakit.evaluation.linear_sweep import LinearSweep

NUM_CLASSES = 4


def clouds(num: int, seed: int, distance: float = 1.0, width: int = 8) -> Features:
    random = torch.Generator().manual_seed(99)
    centres = torch.randn(NUM_CLASSES, width, generator=random) * distance
    random.manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (num,), generator=random)
    return Features(centres[labels] + torch.randn(num, width, generator=random), labels)


def layered(num: int, seed: int) -> Features:
    """Two layers, of which the last knows nothing."""
    known = clouds(num, seed, distance=8.0)
    noise = torch.randn(num, 8, generator=torch.Generator().manual_seed(seed))
    return Features(torch.cat([known.values, noise], dim=1), known.labels, width=8)


def quick(**changes: object) -> LinearSweep.Settings:
    settings: dict[str, object] = {
        "epochs": 4,
        "decay_every": 2,
        "batch_size": 64,
        "learning_rates": (0.3, 3.0),
        "weight_decays": (0.0, 0.1),
    }
    return LinearSweep.Settings.model_validate(settings | changes)


def test_perfect_features_score_1() -> None:
    labels = torch.arange(400) % NUM_CLASSES
    features = Features(nn.functional.one_hot(labels).float(), labels)
    assert LinearSweep().score(features, features)["linear_sweep"] == 1


def test_shuffled_labels_score_chance() -> None:
    train, test = clouds(400, 0), clouds(2000, 1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    shuffled = Features(train.values, train.labels[order])
    assert abs(LinearSweep().score(shuffled, test)["linear_sweep"] - 1 / NUM_CLASSES) < 0.07


def test_agrees_with_scikit_learn() -> None:
    train, test = clouds(1000, 0, 0.6), clouds(2000, 1, 0.6)
    scaler = StandardScaler().fit(train.values.numpy())
    model = LogisticRegression(C=1).fit(scaler.transform(train.values.numpy()), train.labels)
    theirs = model.score(scaler.transform(test.values.numpy()), test.labels.numpy())
    assert 0.6 < theirs < 0.95
    assert abs(LinearSweep().score(train, test)["linear_sweep"] - theirs) < 0.01


@pytest.mark.parametrize("layers", ["last", "last_four"])
@pytest.mark.parametrize("norm", ["linear", "batch_norm"])
@pytest.mark.parametrize("rate", [0.3, 3.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_head_alone_is_the_head_in_the_sweep(
    layers: str, norm: str, rate: float, decay: float
) -> None:
    train = layered(300, 0)
    swept = LinearSweep(quick()).fit(train, NUM_CLASSES)
    single = quick(layers=(layers,), norms=(norm,), learning_rates=(rate,), weight_decays=(decay,))
    alone = LinearSweep(single).fit(train, NUM_CLASSES)
    assert len(swept.accuracies) == 16
    assert len(swept.curves) == 32
    assert set(alone.curves) == {alone.best.name, f"{alone.best.name}/loss"}
    for name, curve in alone.curves.items():
        assert len(curve) == 4
        assert swept.curves[name] == pytest.approx(curve, abs=1e-5)
    if alone.best.name == swept.best.name:
        torch.testing.assert_close(alone.best.weight, swept.best.weight, atol=1e-5, rtol=1e-5)


def test_the_chosen_head_is_the_best_on_the_held_out_part() -> None:
    train = clouds(400, 0)
    sweep = LinearSweep(quick()).fit(train, NUM_CLASSES)
    assert sweep.accuracies[sweep.best.name] == max(sweep.accuracies.values())
    assert len(set(sweep.accuracies.values())) > 1
    held = train.rows(held_out(train.labels, 0.2, 0))
    right = (sweep.best.scores(held.values).argmax(dim=1) == held.labels).float().mean().item()
    assert right == pytest.approx(sweep.accuracies[sweep.best.name])
    for name, accuracy in sweep.accuracies.items():
        assert sweep.curves[name][-1] == accuracy


def test_held_out_and_test_pictures_are_never_trained_on() -> None:
    train, test = clouds(400, 0), clouds(100, 1)
    held = held_out(train.labels, 0.2, 0)
    spoilt = train.values + 50 * held[:, None]
    expected = LinearSweep(quick()).fit(train, NUM_CLASSES).curves
    found = LinearSweep(quick()).judge(Features(spoilt, train.labels), test).curves
    losses = [name for name in expected if name.endswith("/loss")]
    assert all(found[name] == expected[name] for name in losses)


def by_hand(train: Features, norm: str, rates: list[float], decay: float) -> nn.Linear:
    """LARS on whole batches, with autograd."""
    first = generator(0, "linear-sweep-last").standard_normal((NUM_CLASSES, 8)) * 0.01
    layer = nn.Linear(8, NUM_CLASSES)
    layer.weight.data = torch.from_numpy(first).float()
    layer.bias.data.zero_()
    rows = train.values
    if norm == "batch_norm":
        rows = (rows - rows.mean(dim=0)) / (rows.var(dim=0, correction=0) + 1e-5).sqrt()
    speeds = [torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)]
    for rate in rates:
        loss = nn.functional.cross_entropy(layer(rows), train.labels)
        pull, bias_pull = torch.autograd.grad(loss, [layer.weight, layer.bias])
        length = layer.weight.detach().norm()
        ratio = 0.01 * length / (pull.norm() + decay * length)
        pull = (pull + decay * layer.weight.detach()) * ratio
        speeds = [0.9 * speeds[0] + rate * pull, 0.9 * speeds[1] + rate * bias_pull]
        layer.weight.data -= speeds[0]
        layer.bias.data -= speeds[1]
    return layer


@pytest.mark.parametrize("norm", ["linear", "batch_norm"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("refit", [False, True])
def test_heads_follow_lars(norm: str, decay: float, refit: bool) -> None:
    train = clouds(200, 0)
    settings = quick(
        norms=(norm,), learning_rates=(2.0,), weight_decays=(decay,), batch_size=512, refit=refit
    )
    best = LinearSweep(settings).fit(train, NUM_CLASSES).best
    seen = train if refit else train.rows(~held_out(train.labels, 0.2, 0))
    expected = by_hand(seen, norm, [2.0, 2.0, 0.2, 0.2], decay)
    torch.testing.assert_close(best.weight, expected.weight.data, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(best.bias, expected.bias.data, atol=1e-5, rtol=1e-4)
    if norm == "batch_norm":
        torch.testing.assert_close(best.scaling.mean, seen.values.mean(dim=0))
        deviation = (seen.values.var(dim=0) + 1e-5).sqrt()
        torch.testing.assert_close(best.scaling.deviation, deviation)


def test_rates_scale_with_the_batch() -> None:
    train = clouds(300, 0)
    plain = quick(learning_rates=(2.0,), weight_decays=(0.0,), norms=("linear",))
    scaled = plain.model_copy(update={"learning_rates": (8.0,), "scale_by_batch": True})
    ours, theirs = (LinearSweep(s).fit(train, NUM_CLASSES) for s in (plain, scaled))
    torch.testing.assert_close(ours.best.weight, theirs.best.weight)


def test_the_papers_settings() -> None:
    paper = LinearSweep.Settings.paper()
    assert (paper.batch_size, paper.epochs, paper.decay_every) == (16384, 50, 15)
    assert set(paper.learning_rates) == {0.01, 0.05, 0.001}
    assert set(paper.weight_decays) == {0.0005, 0.0}
    assert (paper.momentum, paper.trust, paper.scale_by_batch) == (0.9, 0.001, True)


def test_diverged_heads_are_never_chosen() -> None:
    train = clouds(300, 0)
    sweep = LinearSweep(quick(learning_rates=(1e38, 3.0))).fit(train, NUM_CLASSES)
    assert sweep.best.learning_rate == 3.0
    diverged = "sweep/last/linear/lr=1e+38/wd=0"
    assert sweep.accuracies[diverged] == 0
    assert len(sweep.curves[diverged]) < 4
    assert len(sweep.curves[sweep.best.name]) == 4
    with pytest.raises(ValueError, match="use smaller learning rates"):
        LinearSweep(quick(learning_rates=(1e38,))).fit(train, NUM_CLASSES)


def test_each_epoch_trains_on_its_augmented_copy() -> None:
    train = clouds(300, 0)
    expected = LinearSweep(quick()).fit(train, NUM_CLASSES).curves
    spoilt = torch.full_like(train.values, torch.nan)

    def curves(*copies: torch.Tensor, epochs: int = 4) -> dict[str, list[float]]:
        features = Features(train.values, train.labels, None, copies)
        return LinearSweep(quick(epochs=epochs)).judge(features, train).curves

    assert curves(train.values) == expected
    assert curves(train.values, train.values, spoilt, epochs=2).keys() == expected.keys()
    with pytest.raises(ValueError, match="diverged"):
        curves(train.values, spoilt, epochs=2)
    found = curves(train.values, train.values + 1, epochs=3)
    assert all(found[name][0] == curve[0] for name, curve in expected.items())
    assert any(found[name][1] != curve[1] for name, curve in expected.items())


@pytest.mark.parametrize(("num_rows", "epochs"), [(300, 50), (8000, 20), (10**6, 20)])
def test_small_data_is_seen_more_often(num_rows: int, epochs: int) -> None:
    lasting = LinearSweep.Settings().lasting(num_rows)
    assert (lasting.epochs, lasting.decay_every) == (epochs, round(0.3 * epochs))
    assert quick().lasting(num_rows) == quick()


def test_layers_are_told_apart() -> None:
    train, test = layered(400, 0), layered(400, 1)
    swept = LinearSweep().judge(train, test)
    assert swept.scores()["linear_sweep"] > 0.99
    assert swept.chosen["linear_sweep_layers"] == 2
    assert max(a for name, a in swept.chosen.items() if name.startswith("sweep/last/")) < 0.5
    assert LinearSweep(quick(layers=("last",))).score(train, test)["linear_sweep"] < 0.4
    one_layer = LinearSweep(quick()).score(clouds(400, 0), clouds(400, 1))
    assert not any(name.startswith("sweep/last_four/") for name in one_layer)
    with pytest.raises(ValueError, match="add `last`"):
        LinearSweep(quick(layers=("last_four",))).fit(clouds(400, 0), NUM_CLASSES)


def test_other_probes_look_at_the_last_layer_unless_told() -> None:
    train, test = layered(400, 0), layered(400, 1)
    neighbours = NearestNeighbours(NearestNeighbours.Settings(neighbours=(10,)))
    assert neighbours.score(train, test)["knn_10"] < 0.4
    found = neighbours.predict(train, NUM_CLASSES, test.values).classes["knn_10"]
    assert found.equal(neighbours.judge(train, test).predictions["knn_10"])

    def probed(pooling: str) -> dict[str, float]:
        settings = LinearProbe.Settings.model_validate({"pooling": pooling})
        return LinearProbe(settings).score(train, test)

    assert probed("last")["linear"] < 0.4
    assert probed("last_four")["linear"] > 0.99
    assert probed("best")["linear"] > 0.99
    assert probed("best")["linear_layers"] == 2
    swapped = [
        Features(features.values.roll(8, dims=1), features.labels, 8) for features in (train, test)
    ]
    best = LinearProbe(LinearProbe.Settings(pooling="best")).score(*swapped)
    assert best["linear_layers"] == 1
    assert best["linear"] > 0.99


def test_a_judgement_holds_sweep_and_curves() -> None:
    judgement = LinearSweep(quick()).judge(clouds(300, 0), clouds(100, 1))
    name = "sweep/last/linear/lr=3/wd=0.1"
    assert judgement.chosen[name] == judgement.curves[name][-1]
    renamed = judgement.renamed(lambda name: f"shape/{name}")
    assert renamed.curves[f"shape/{name}"] == judgement.curves[name]
    both = Judgement.together([judgement, renamed])
    assert both.curves == judgement.curves | renamed.curves


def test_a_sweep_is_reproducible_and_depends_on_its_seed() -> None:
    train = clouds(300, 0)
    first, second = (LinearSweep(quick()).fit(train, NUM_CLASSES).curves for _ in range(2))
    assert first == second
    assert LinearSweep(quick(seed=1)).fit(train, NUM_CLASSES).curves != first


def test_too_few_pictures_and_bad_settings_are_refused() -> None:
    three = Features(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match="too few to hold some out"):
        LinearSweep().score(three, three)
    for wrong in ((), (1.0, 1.0), (-1.0,)):
        with pytest.raises(ValidationError):
            LinearSweep.Settings(learning_rates=wrong)
