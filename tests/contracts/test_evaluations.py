"""What every registered evaluation must do."""

import pytest
import torch

from jepakit.evaluation import EVALUATIONS, Features
from jepakit.evaluation.judgement import Classification

NUM_CLASSES, NUM_TRAIN, NUM_TEST = 5, 500, 1000


@pytest.fixture(params=EVALUATIONS)
def evaluation(request: pytest.FixtureRequest) -> Classification:
    return EVALUATIONS[request.param]()


def separable(num: int, seed: int) -> Features:
    """One-hot features: they say exactly what the label is."""
    labels = torch.randint(NUM_CLASSES, (num,), generator=torch.Generator().manual_seed(seed))
    return Features(torch.nn.functional.one_hot(labels, NUM_CLASSES).float(), labels)


def noise(num: int, seed: int) -> Features:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(num, 16, generator=random)
    return Features(values, torch.randint(NUM_CLASSES, (num,), generator=random))


def shares(evaluation: Classification, train: Features, test: Features) -> list[float]:
    """The scores, without what was chosen."""
    judgement = evaluation.judge(train, test)
    return [judgement.scores()[name] for name in judgement.marks]


def is_chance(score: float) -> bool:
    """Within four standard errors of the chance of one class in five."""
    chance = 1 / NUM_CLASSES
    return abs(score - chance) < 4 * (chance * (1 - chance) / NUM_TEST) ** 0.5


def test_perfect_features_score_1(evaluation: Classification) -> None:
    # k-NN's largest k exceeds a class here: the vote, not the count, must decide.
    assert set(shares(evaluation, separable(NUM_TRAIN, 0), separable(NUM_TEST, 1))) == {1.0}


def test_noise_scores_chance(evaluation: Classification) -> None:
    for score in shares(evaluation, noise(NUM_TRAIN, 0), noise(NUM_TEST, 1)):
        assert is_chance(score)


def test_shuffled_labels_score_chance(evaluation: Classification) -> None:
    random = torch.Generator().manual_seed(3)
    centres = 3 * torch.randn(NUM_CLASSES, 16, generator=random)
    splits = []
    for num in (NUM_TRAIN, NUM_TEST):
        labels = torch.randint(NUM_CLASSES, (num,), generator=random)
        values = centres[labels] + torch.randn(num, 16, generator=random)
        splits.append((values, labels))
    (train, train_labels), (test, test_labels) = splits
    true = shares(evaluation, Features(train, train_labels), Features(test, test_labels))
    shuffled = train_labels[torch.randperm(NUM_TRAIN, generator=random)]
    # Balanced by shuffling the test labels too: a class's cluster has one fixed wrong answer else.
    mixed = test_labels[torch.randperm(NUM_TEST, generator=random)]
    broken = shares(evaluation, Features(train, shuffled), Features(test, mixed))
    assert min(true) > 0.95
    assert all(is_chance(score) for score in broken)


def test_labels_may_be_any_numbers(evaluation: Classification) -> None:
    train, test = separable(NUM_TRAIN, 0), separable(NUM_TEST, 1)
    names = torch.tensor([30, 7, 900, 3, 0])
    judgement = evaluation.judge(
        Features(train.values, names[train.labels]), Features(test.values, names[test.labels])
    )
    for found in judgement.predictions.values():
        torch.testing.assert_close(found, names[test.labels])


def test_marks_explain_the_score(evaluation: Classification) -> None:
    train, test = noise(NUM_TRAIN, 0), noise(NUM_TEST, 1)
    judgement, scores = evaluation.judge(train, test), evaluation.score(train, test)
    assert judgement.marks.keys() == judgement.predictions.keys()
    for name, marks in judgement.marks.items():
        assert marks.mean().item() == scores[name]
        right = (judgement.predictions[name] == test.labels).float()
        # Over several draws a mark is the share that were right, a prediction what most said.
        assert (marks[right == 0] <= 0.5).all()
        if set(marks.tolist()) <= {0.0, 1.0}:
            torch.testing.assert_close(marks, right)


def test_the_same_features_give_the_same_scores(evaluation: Classification) -> None:
    train, test = noise(NUM_TRAIN, 0), noise(NUM_TEST, 1)
    assert evaluation.score(train, test) == evaluation.score(train, test)


def test_the_test_labels_change_no_prediction(evaluation: Classification) -> None:
    train, test = noise(NUM_TRAIN, 0), noise(NUM_TEST, 1)
    other = Features(test.values, (test.labels + 1) % NUM_CLASSES)
    first, second = evaluation.judge(train, test), evaluation.judge(train, other)
    for name, number in first.chosen.items():  # a deviation of scores is not a choice
        assert name.endswith("/deviation") or number == second.chosen[name]
    for name, found in first.predictions.items():
        torch.testing.assert_close(found, second.predictions[name])


def broken(what: str) -> tuple[Features, Features]:
    train, test = noise(NUM_TRAIN, 0), noise(NUM_TEST, 1)
    values, labels = train.values.clone(), train.labels.clone()
    tested = test.labels.clone()
    match what:
        case "one class":
            labels[:] = 2
            tested[:] = 2
        case "training label missing":
            labels[5] = -1
        case "test label missing":
            tested[5] = -1
        case "unknown class":
            labels[labels == 4] = 3
        case "not finite":
            values[7, 3] = float("nan")
        case "widths":
            values = values[:, :8]
        case "empty":
            return Features(values, labels), Features(test.values[:0], tested[:0])
    return Features(values, labels), Features(test.values, tested)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("one class", "all training pictures have the label 2"),
        ("training label missing", "1 of 500 training pictures have no label"),
        ("test label missing", "1 of 1000 test pictures have no label"),
        ("unknown class", r"no training picture has the labels \[4\]"),
        ("not finite", "features of 1 of 500 training pictures are not finite"),
        ("widths", "training features are 8 wide and test features 16"),
        ("empty", "the test split is empty"),
    ],
)
def test_bad_input_is_named(evaluation: Classification, what: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        evaluation.score(*broken(what))
