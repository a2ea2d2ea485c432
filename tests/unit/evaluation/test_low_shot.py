import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.low_shot import LowShot

NUM_CLASSES = 3


def clouds(num: int, seed: int, distance: float = 1.0) -> Features:
    random = torch.Generator().manual_seed(99)
    centres = torch.randn(NUM_CLASSES, 6, generator=random) * distance
    random.manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (num,), generator=random)
    return Features(centres[labels] + torch.randn(num, 6, generator=random), labels)


def counts_of(train: Features, settings: LowShot.Settings) -> list[list[int]]:
    subsets = LowShot(settings)._subsets(train.labels, NUM_CLASSES)
    assert all(len(places.unique()) == len(places) for places in subsets)
    return [torch.bincount(train.labels[places]).tolist() for places in subsets]


def test_perfect_features_score_1() -> None:
    labels = torch.arange(300) % NUM_CLASSES
    features = Features(F.one_hot(labels).float(), labels)
    assert LowShot(LowShot.Settings(per_class=2)).score(features, features)["low_shot_2"] == 1


def test_shuffled_labels_score_chance() -> None:
    train, test = clouds(600, 0), clouds(1000, 1)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    shuffled = Features(train.values, train.labels[order])
    score = LowShot(LowShot.Settings(per_class=100, seeds=3)).score(shuffled, test)
    assert abs(score["low_shot_100"] - 1 / NUM_CLASSES) < 0.1


def test_a_share_is_taken_of_every_class_and_at_least_one() -> None:
    labels = torch.tensor([0] * 270 + [1] * 120 + [2] * 4)
    train = Features(torch.zeros(len(labels), 2), labels)
    assert counts_of(train, LowShot.Settings()) == [[3, 1, 1]] * 5
    assert counts_of(train, LowShot.Settings(share=0.1, seeds=2)) == [[27, 12, 1]] * 2
    assert counts_of(train, LowShot.Settings(per_class=4, seeds=1)) == [[4, 4, 4]]


def test_names_say_how_many() -> None:
    assert LowShot().name == "low_shot_1pct"
    assert LowShot(LowShot.Settings(share=0.1)).name == "low_shot_10pct"
    assert LowShot(LowShot.Settings(share=0.005)).name == "low_shot_0.5pct"
    assert LowShot(LowShot.Settings(per_class=5)).name == "low_shot_5"


def test_marks_are_means_over_seeds() -> None:
    train, test = clouds(300, 0), clouds(200, 1)
    probe = LowShot(LowShot.Settings(per_class=3, seeds=4))
    found = probe.predict(train, NUM_CLASSES, test.values)
    judgement = probe.judge(train, test)
    right = torch.stack([c == test.labels for c in found.classes.values()]).double()
    assert len(right) == 4
    torch.testing.assert_close(judgement.marks["low_shot_3"].double(), right.mean(dim=0))
    deviation = right.mean(dim=1).std().item()
    assert deviation > 0
    assert judgement.chosen["low_shot_3/deviation"] == pytest.approx(deviation, abs=1e-6)
    assert judgement.chosen["low_shot_3/pictures_per_class"] == 3
    assert judgement.chosen["low_shot_3/l2/seed=2"] in LowShot.Settings().l2
    votes = torch.stack(list(found.classes.values())).mode(dim=0).values
    assert judgement.predictions["low_shot_3"].equal(votes)


def test_draws_differ_by_seed_and_repeat() -> None:
    train = clouds(300, 0)
    settings = LowShot.Settings(per_class=3, seeds=2)
    first, second = LowShot(settings)._subsets(train.labels, NUM_CLASSES)
    again, _ = LowShot(settings)._subsets(train.labels, NUM_CLASSES)
    assert first.equal(again)
    assert not first.equal(second)


def test_a_given_subset_is_used_and_agrees_with_scikit_learn() -> None:
    train, test = clouds(300, 0), clouds(1000, 1)
    places = torch.cat([(train.labels == k).nonzero().squeeze(1)[:8] for k in range(NUM_CLASSES)])
    judgement = LowShot(LowShot.Settings(l2=(0.01,)), [places]).judge(train, test)
    part = train.values[places].double().numpy()
    scaler = StandardScaler().fit(part)
    model = LogisticRegression(C=1 / (0.01 * 24), tol=1e-8, max_iter=1000)
    model.fit(scaler.transform(part), train.labels[places])
    theirs = model.score(scaler.transform(test.values.double().numpy()), test.labels.numpy())
    assert judgement.scores()["low_shot_1pct"] == pytest.approx(theirs, abs=0.001)
    assert judgement.chosen["low_shot_1pct/deviation"] == 0
    assert judgement.chosen["low_shot_1pct/pictures_per_class"] == 8


@pytest.mark.parametrize("noisy", [True, False])
def test_the_strength_is_chosen_inside_the_subset(noisy: bool) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(1600) % 2
    signs = labels * 2.0 - 1
    values = torch.randn(1600, 300 if noisy else 2, generator=random)
    if noisy:  # one feature of 300 means something: a weak penalty fits the noise of the others
        values[:, 0] += 1.5 * signs
    else:  # only the small difference of two features means something: it needs large weights
        values[:, 1] = values[:, 0] + 0.05 * signs
    train, test = Features(values[:800], labels[:800]), Features(values[800:], labels[800:])
    settings = LowShot.Settings(per_class=300, seeds=1, l2=(0.1, 0.0001))
    chosen, rejected = (0.1, 0.0001) if noisy else (0.0001, 0.1)
    swept = LowShot(settings).score(train, test)
    other = LowShot(settings.model_copy(update={"l2": (rejected,)})).score(train, test)
    assert swept["low_shot_300/l2/seed=0"] == chosen
    assert swept["low_shot_300"] > other["low_shot_300"]


def test_one_picture_per_class_takes_the_largest_margin() -> None:
    score = LowShot(LowShot.Settings(per_class=1, seeds=2)).score(clouds(90, 0), clouds(90, 1))
    assert score["low_shot_1/l2/seed=0"] == score["low_shot_1/l2/seed=1"] == 0.0001


def test_only_the_last_layer_counts() -> None:
    train, test = clouds(300, 0, 8.0), clouds(300, 1, 8.0)
    noisy = [
        Features(torch.cat([f.values.flip(0), f.values], dim=1), f.labels, 6) for f in (train, test)
    ]
    settings = LowShot.Settings(per_class=3)
    expected = LowShot(settings).judge(train, test)
    assert LowShot(settings).judge(*noisy).scores() == expected.scores()


def test_wrong_settings_and_subsets_are_refused() -> None:
    train = clouds(60, 0)
    for wrong in ({"per_class": 3, "share": 0.1}, {"share": None}, {"l2": ()}, {"l2": (0.0,)}):
        with pytest.raises(ValidationError):
            LowShot.Settings.model_validate(wrong)
    with pytest.raises(ValueError, match="choose per_class of at most"):
        LowShot(LowShot.Settings(per_class=50)).score(train, train)
    one_class = (train.labels == 0).nonzero().squeeze(1)
    with pytest.raises(ValueError, match="no picture of 2 of the 3 classes"):
        LowShot(subsets=[one_class]).score(train, train)
    for outside in ([0, 60], [-1, 0], []):
        with pytest.raises(ValueError, match="not among the 60 training pictures"):
            LowShot(subsets=[torch.tensor(outside, dtype=torch.long)]).score(train, train)
    with pytest.raises(ValueError, match="list of subsets is empty"):
        LowShot(subsets=[]).score(train, train)
