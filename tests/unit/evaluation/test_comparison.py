import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from jepakit.evaluation import comparison
from jepakit.evaluation.comparison import Comparison, bootstrap, compare, tabulate
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.knn import NearestNeighbours
from jepakit.evaluation.linear_probe import LinearProbe

NUM_PICTURES = 1000


def judgement(share: float, seed: int = 0, num: int = NUM_PICTURES) -> Judgement:
    """`linear` right for exactly a share of the pictures, `knn_20` for none."""
    marks = torch.zeros(num)
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    marks[order[: int(share * num)]] = 1
    return Judgement({"linear": marks, "knn_20": torch.zeros(num)}, {}, {"linear_l2": 0.01})


@pytest.fixture
def table() -> Comparison:
    return tabulate({"trained": judgement(0.6), "random": judgement(0.4, 1)})


def test_values_are_means_and_intervals_are_binomial(table: Comparison) -> None:
    score = table.scores["trained"]["linear"]
    deviation = (0.6 * 0.4 / NUM_PICTURES) ** 0.5
    assert score.value == pytest.approx(0.6)
    assert score.low == pytest.approx(0.6 - 1.96 * deviation, abs=0.004)
    assert score.high == pytest.approx(0.6 + 1.96 * deviation, abs=0.004)
    none = table.scores["random"]["knn_20"]
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / NUM_PICTURES)))
    assert table.num_pictures == NUM_PICTURES
    assert table.chosen["random"] == {"linear_l2": 0.01}


def test_bootstrap_blocks_only_bound_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = np.random.default_rng(0).random((2, 50))
    whole = bootstrap(marks, 0, 100)
    monkeypatch.setattr(comparison, "_BLOCK", 50 * 7)
    np.testing.assert_allclose(bootstrap(marks, 0, 100), whole)


def test_equal_marks_get_equal_intervals() -> None:
    table = tabulate({"one": judgement(0.6), "same": judgement(0.6)})
    assert table.scores["one"] == table.scores["same"]


def test_seeds_change_intervals_and_no_value(table: Comparison) -> None:
    rows = {"trained": judgement(0.6), "random": judgement(0.4, 1)}
    again, other = tabulate(rows), tabulate(rows, seed=1)
    assert again == table
    assert other != table
    assert other.value("trained", "linear") == table.value("trained", "linear")


def test_margin_is_over_the_best_of_the_others() -> None:
    table = tabulate({"a": judgement(0.6), "b": judgement(0.4), "c": judgement(0.5)})
    assert table.margin("a", "linear").value == pytest.approx(0.1)
    assert table.margin("b", "linear").value == pytest.approx(-0.2)


def test_the_interval_of_a_margin_grows_as_pictures_get_fewer() -> None:
    def margin(num: int) -> tuple[float, float]:
        table = tabulate({"a": judgement(0.6, num=num), "b": judgement(0.4, 1, num=num)})
        found = table.margin("a", "linear")
        assert found.low < found.value < found.high
        return found.low, found.high

    low, high = margin(1000)
    assert low > 0.15
    assert high < 0.25
    assert margin(20)[0] < 0 < margin(20)[1]  # twelve of twenty and eight of twenty may be luck


def test_the_others_of_a_margin_can_be_chosen() -> None:
    table = tabulate({"a": judgement(0.6), "b": judgement(0.4), "c": judgement(0.5)})
    assert table.margin("a", "linear", ["b"]).value == pytest.approx(0.2)


def test_a_score_that_is_not_there_is_told_with_those_that_are(table: Comparison) -> None:
    with pytest.raises(ValueError, match="random has no score 'knn': it has linear, knn_20"):
        table.value("random", "knn")
    with pytest.raises(ValueError, match="no row 'randon': there are trained, random"):
        table.value("randon", "linear")


def test_saved_and_loaded_it_is_the_same(table: Comparison, tmp_path: Path) -> None:
    table.save(tmp_path / "scores.json")
    assert Comparison.load(tmp_path / "scores.json") == table


def test_markdown_marks_the_best(table: Comparison) -> None:
    lines = table.markdown(["linear"]).splitlines()
    assert lines[0] == "| features | linear |"
    assert lines[1] == "| --- | ---: |"
    assert lines[2].startswith("| trained | **60.0 (")
    assert lines[3].startswith("| random | 40.0 (")
    assert lines[-1] == "Percent of 1,000 test pictures (95% bootstrap interval)"


def test_the_caption_tells_the_sizes_that_were_seen() -> None:
    rows = {"a": judgement(0.6), "b": judgement(0.4)}
    one = tabulate(rows, sizes={"a": (64, 48), "b": (64, 48)})
    assert one.caption() == (
        "Percent of 1,000 test pictures of 64 x 48 pixels (95% bootstrap interval)"
    )
    two = tabulate(rows, sizes={"a": (64, 48), "b": (32, 32)})
    assert "of 32 x 32 or 64 x 48 pixels" in two.caption()


def test_terminal_table_shows_every_cell(table: Comparison) -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(table.table())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for words in ("trained", "random", "linear", "knn 20", "60.0 (", "40.0 (", "0.0 (0.0–0.4)"):
        assert words in text


def test_different_test_pictures_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="evaluate all of them on one split"):
        tabulate({"a": judgement(0.5), "b": judgement(0.5, num=500)})


def test_a_row_may_lack_a_score() -> None:
    few = judgement(0.5)
    table = tabulate({"few": Judgement({"linear": few.marks["linear"]}, {}), "all": judgement(0.6)})
    assert table.columns == ["linear", "knn_20"]
    assert "knn_20" not in table.scores["few"]
    assert table.margin("few", "linear").value == pytest.approx(-0.1)
    assert "| few | 50.0 (" in table.markdown()
    assert "| – |" in table.markdown()


def test_compare_runs_every_evaluation_on_every_row() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (300,), generator=random)
    known = torch.nn.functional.one_hot(labels).float()
    rows = {"known": known, "noise": torch.randn(300, 3, generator=random)}
    splits = {
        row: (Features(values[:200], labels[:200]), Features(values[200:], labels[200:]))
        for row, values in rows.items()
    }
    nearest = NearestNeighbours(NearestNeighbours.Settings(neighbours=(10,)))
    table = compare(splits, {"knn": nearest, "linear": LinearProbe()})
    assert table.columns == ["knn_10", "linear"]
    assert table.value("known", "knn_10") == table.value("known", "linear") == 1.0
    assert table.margin("known", "linear").low > 0.4
    assert table.num_pictures == 100


def test_a_few_pictures_that_are_all_right_are_not_certain() -> None:
    right = tabulate({"a": judgement(1.0, num=24), "b": judgement(0.9, num=24)})
    score = right.scores["a"]["linear"]
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low == pytest.approx(0.858, abs=0.001)  # 0.025 ** (1 / 24)
    assert right.margin("a", "linear").low < 0
