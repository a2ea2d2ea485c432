import pytest
import torch
from pydantic import ValidationError

from jepakit.evaluation import knn
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.knn import NearestNeighbours


def random_features(num: int, seed: int) -> Features:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (num,), generator=random)
    return Features(torch.randn(num, 4, generator=random) + labels[:, None] * 0.5, labels)


def by_hand(train: Features, values: torch.Tensor, k: int, temperature: float) -> list[int]:
    """The definition, one picture at a time."""
    winners = []
    for value in values:
        cosines = torch.nn.functional.cosine_similarity(train.values, value[None])
        nearest = cosines.argsort(descending=True)[:k].tolist()
        votes = [0.0, 0.0, 0.0]
        for place in nearest:
            votes[int(train.labels[place])] += float(torch.exp(cosines[place] / temperature))
        winners.append(max(range(3), key=votes.__getitem__))
    return winners


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_agrees_with_the_definition(temperature: float) -> None:
    train, test = random_features(60, 0), random_features(40, 1)
    settings = NearestNeighbours.Settings(neighbours=(1, 5, 60), temperature=temperature)
    found = NearestNeighbours(settings).judge(train, test).predictions
    for k in (1, 5, 60):
        assert found[f"knn_{k}"].tolist() == by_hand(train, test.values, k, temperature)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = random_features(60, 0), random_features(40, 1)
    evaluation = NearestNeighbours(NearestNeighbours.Settings(neighbours=(5,)))
    whole = evaluation.judge(train, test).predictions["knn_5"]
    monkeypatch.setattr(knn, "_BLOCK", 7 * 60)  # 40 rows do not divide into blocks of 7
    torch.testing.assert_close(evaluation.judge(train, test).predictions["knn_5"], whole)


def test_length_of_a_feature_is_ignored() -> None:
    train, test = random_features(60, 0), random_features(40, 1)
    longer = Features(train.values * torch.arange(1, 61)[:, None], train.labels)
    evaluation = NearestNeighbours(NearestNeighbours.Settings(neighbours=(5,)))
    assert evaluation.score(train, test) == evaluation.score(longer, test)


def test_small_temperature_does_not_overflow() -> None:
    train, test = random_features(60, 0), random_features(40, 1)
    cold = NearestNeighbours.Settings(neighbours=(1, 20), temperature=1e-4)
    scores = NearestNeighbours(cold).score(train, test)
    assert scores["knn_20"] == scores["knn_1"]  # the nearest decides alone


def test_more_neighbours_than_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="200 neighbours do not exist among 60 training"):
        NearestNeighbours().score(random_features(60, 0), random_features(40, 1))


def test_neighbours_must_be_positive() -> None:
    with pytest.raises(ValidationError, match="at least 1"):
        NearestNeighbours.Settings(neighbours=(0, 5))
