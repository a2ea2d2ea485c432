"""One page about an evaluation: scores beside baselines, mistakes, classes, curves."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite

import numpy as np

from jepakit.evaluation.comparison import Comparison
from jepakit.runs.evaluation import Evaluated
from jepakit.runs.evaluation_answers import answers
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.folder import RunFolder
from jepakit.runs.yaml_file import to_yaml
from jepakit.version import __version__
from jepakit.visualization import (
    Code,
    Facts,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    write_page,
)
from jepakit.visualization.line_drawing import Line, draw_lines
from jepakit.visualization.score_drawing import draw_scores

_MOST_LINES = 5  # in a drawing of a sweep


def write_evaluation(
    evaluated: Evaluated, settings: EvaluationSettings, folder: RunFolder, command: str
) -> None:
    """Write `scores.json` and `evaluation.html` into the folder."""
    evaluated.comparison.save(folder.scores)
    sections: list[Section] = [
        *_scores(evaluated),
        *_over_training(evaluated),
        *answers(evaluated, _main_row(evaluated)),
        *_curves(evaluated),
        *_chosen(evaluated),
        _facts(evaluated),
        Code(command, heading="How to do this again"),
        Code(to_yaml(settings), heading="All settings"),
    ]
    write_page(
        folder.evaluation_page,
        title=_title(evaluated),
        sections=sections,
        lead="What a frozen network knows about pictures, beside the same network with random "
        "weights and beside raw pixels.",
        footer=f"written by jepakit {__version__}",
    )


def _title(evaluated: Evaluated) -> str:
    names = [candidate.subject.name for candidate in evaluated.candidates]
    told = ", ".join(names) if len(names) < 3 else f"{len(names)} networks, {names[0]} and others"
    return f"Evaluation of {told}"


def _scores(evaluated: Evaluated) -> list[Section]:
    """The table, the longer side downwards; then what it means in a sentence."""
    comparison = evaluated.comparison
    columns, networks = comparison.columns, list(comparison.scores)

    def cell(network: str, column: str) -> str | None:
        score = comparison.scores[network].get(column)
        return None if score is None else str(score)

    rows: list[tuple[str | None, ...]]
    if len(networks) > len(columns):
        head = ("features", *map(_words, columns))
        rows = [(network, *(cell(network, c) for c in columns)) for network in networks]
    else:
        head = ("score", *networks)
        rows = [(_words(column), *(cell(n, column) for n in networks)) for column in columns]
    table = Table(head, tuple(rows), comparison.caption(), "Scores")
    return [table, _drawn(comparison), _verdict(evaluated)]


def _drawn(comparison: Comparison) -> Picture:
    """The same scores as marks on one axis."""
    percent = {
        row: {_words(c): (100 * s.value, 100 * s.low, 100 * s.high) for c, s in scores.items()}
        for row, scores in comparison.scores.items()
    }
    told = "; ".join(
        f"{row}: " + ", ".join(f"{_words(c)} {s}" for c, s in scores.items())
        for row, scores in comparison.scores.items()
    )
    drawing = draw_scores([_words(column) for column in comparison.columns], percent)
    return Picture(drawing, told, "Percent; the bars are the intervals of the table")


def _verdict(evaluated: Evaluated) -> Text:
    """In how many scores the main row is above every baseline, beyond the luck of the pictures."""
    comparison, first = evaluated.comparison, _main_row(evaluated)
    named = {c.subject.name for c in evaluated.candidates}
    baselines = [row for row in comparison.scores if row not in named]
    margins = {
        column: comparison.margin(first, column, baselines) for column in comparison.scores[first]
    }
    above = [column for column, margin in margins.items() if margin.value > 0]
    clear = [column for column in above if margins[column].low > 0]
    worst = min(margins, key=lambda column: margins[column].value)
    smallest = margins[worst]
    words = (
        f"{first} is above every baseline in {len(above)} of {len(margins)} scores, in "
        f"{len(clear)} of them by more than the luck of {comparison.num_pictures:,} test pictures; "
        f"its smallest margin is {100 * smallest.value:+.1f} points ({_words(worst)}; interval "
        f"{100 * smallest.low:+.1f} to {100 * smallest.high:+.1f})."
    )
    return Text(words, tone="good" if len(clear) == len(margins) else "warning")


def _main_row(evaluated: Evaluated) -> str:
    """The network that is looked at closely: a run's newest checkpoint, else the first network."""
    candidates = evaluated.candidates
    if len({candidate.folder for candidate in candidates}) > 1:
        return candidates[0].subject.name
    return max(candidates, key=lambda candidate: candidate.step or 0).subject.name


def _words(column: str) -> str:
    """`nearest_shape/linear` -> `nearest shape, linear`."""
    return column.replace("_", " ").replace("/", ", ")


def _over_training(evaluated: Evaluated) -> list[Section]:
    """A picture per score, if several checkpoints of a run were evaluated; a line per encoder."""
    points: dict[str, list[tuple[int, str]]] = {}
    for candidate in evaluated.candidates:
        if candidate.step is not None:
            encoder = candidate.subject.name.partition("(")[2].partition(")")[0]
            line = f"{candidate.folder.name if candidate.folder else ''} ({encoder})"
            points.setdefault(line, []).append((candidate.step, candidate.subject.name))
    points = {name: sorted(found) for name, found in points.items() if len(found) > 1}
    if not points:
        return []
    scores, last = evaluated.comparison.scores, max(found[-1][0] for found in points.values())
    drawn = []
    for column in evaluated.comparison.columns:
        known = {
            name: [
                (s, 100 * scores[row][column].value) for s, row in found if column in scores[row]
            ]
            for name, found in points.items()
        }
        lines = [
            _line(name, [s for s, _ in found], [value for _, value in found])
            for name, found in known.items()
            if found
        ]
        told = "; ".join(
            f"{name}: " + ", ".join(f"{value:.1f} at {step}" for step, value in found)
            for name, found in known.items()
        )
        drawn.append(
            Picture(draw_lines(_words(column), lines, last), f"{column} over training, {told}")
        )
    return [Gallery(tuple(drawn), "percent, by optimizer steps", "Over the training")]


def _line(name: str, steps: list[int], values: list[float]) -> Line:
    return Line(name, np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))


def _curves(evaluated: Evaluated) -> list[Section]:
    row = _main_row(evaluated)
    judgement = evaluated.judgements[row]
    drawn = []
    for title, curves in grouped_curves(judgement.curves).items():
        best = _best(title, curves)
        lines = [_line(name, list(range(1, len(curve) + 1)), curve) for name, curve in best]
        told = "; ".join(
            f"{name} {curve[0]:.3g} after one epoch, {curve[-1]:.3g} at the end"
            for name, curve in best
        )
        shown = f", best {len(best)} of {len(curves)}" if len(best) < len(curves) else ""
        longest = max(len(curve) for _, curve in best)
        drawn.append(
            Picture(draw_lines(f"{title}{shown}", lines, longest, unit="epoch"), f"{title}: {told}")
        )
    return [Gallery(tuple(drawn), f"by epoch, {row}", "How the probes learned")] if drawn else []


def grouped_curves(curves: Mapping[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """By title and name: the heads of a sweep together (`…/lr=1/wd=0`), every other curve alone."""
    groups: dict[str, dict[str, list[float]]] = {}
    for name, curve in curves.items():
        if len(curve) > 1:
            before, sweeps, head = name.partition("/lr=")
            what = ", loss" if sweeps and head.endswith("/loss") else ""
            title = _words(before) + what
            head = f"lr={head.removesuffix('/loss')}" if sweeps else title
            groups.setdefault(title, {})[head] = curve
    return groups


def _best(title: str, curves: Mapping[str, list[float]]) -> list[tuple[str, list[float]]]:
    """The few that end best: with the lowest loss, or the highest accuracy; the broken last."""
    sign = 1 if title.endswith("loss") else -1

    def rank(item: tuple[str, list[float]]) -> float:
        return sign * item[1][-1] if isfinite(item[1][-1]) else inf

    return sorted(curves.items(), key=rank)[:_MOST_LINES]


def _chosen(evaluated: Evaluated) -> list[Section]:
    """What every row chose; the sweeps of the main row in full."""
    chosen = [
        (row, _words(name), f"{value:.4g}")
        for row, judgement in evaluated.judgements.items()
        for name, value in judgement.chosen.items()
        if "sweep/" not in name and "/seed=" not in name
    ]
    row = _main_row(evaluated)
    judgement = evaluated.judgements[row]
    swept = [
        (_words(name.replace("sweep/", "")), 100 * value)
        for name, value in judgement.chosen.items()
        if "sweep/" in name
    ]
    sections: list[Section] = []
    if chosen:
        caption = "chosen on a held-out part of the training pictures, never on the test pictures"
        head = ("features", "what", "value")
        sections.append(Table(head, tuple(chosen), caption, "What the probes chose"))
    if swept:
        swept.sort(key=lambda pair: -pair[1])
        caption = f"percent of the held-out training pictures, the best first ({row})"
        sections.append(Table(("head", "held-out"), tuple(swept), caption, "The sweeps"))
    return sections


def _facts(evaluated: Evaluated) -> Section:
    dataset = evaluated.dataset
    names = [question.name or "class" for question in dataset.questions]
    facts = [
        ("pictures of", evaluated.comparison.pictures),
        ("training pictures", f"{len(dataset.train):,}"),
        ("test pictures", f"{len(dataset.test):,}"),
        ("questions", ", ".join(names)),
        ("unreadable pictures", str(dataset.num_broken)),
        ("test pictures that look like training pictures", str(len(dataset.duplicates))),
    ]
    for candidate in evaluated.candidates:
        subject = candidate.subject
        side = f"{subject.size[0]} x {subject.size[1]} pixels"
        facts.append((subject.name, f"{side}, width {subject.backbone.width}, {subject.precision}"))
    return Facts(tuple(facts), heading="The pictures")
