"""Candidates, a random twin and raw pixels through every task, on the same pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from jepakit.data.splits import TrainAndTest
from jepakit.evaluation.comparison import Comparison, tabulate
from jepakit.evaluation.evaluation import Features
from jepakit.evaluation.feature_bank import FeatureBank
from jepakit.evaluation.judgement import Judgement, Measurements
from jepakit.evaluation.judgement_file import load_judgement, save_judgement
from jepakit.evaluation.linear_probe import RidgeProbe
from jepakit.evaluation.low_shot import LowShot
from jepakit.evaluation.picture_evaluation import Tell
from jepakit.evaluation.questions import Question
from jepakit.evaluation.subject import Pictures, Subject
from jepakit.runs.dataset import Dataset, open_dataset
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.subjects import Candidate
from jepakit.runs.tasks import (
    ON_FEATURES,
    check_answerable,
    deciding,
    evaluations_asked,
    feature_evaluations,
    impossible_neighbours,
    picture_evaluation,
    places_of_names,
    repeated,
)

PIXELS = "raw pixels"


@dataclass(frozen=True)
class Evaluated:
    """All that an evaluation found."""

    comparison: Comparison
    judgements: dict[str, Judgement]  # by row
    dataset: Dataset
    candidates: Sequence[Candidate]


def evaluate_candidates(
    candidates: Sequence[Candidate],
    parts: TrainAndTest,
    settings: EvaluationSettings,
    folder: Path,
    tell: Tell,
) -> Evaluated:
    """Every task for every row; what was done before, in this folder, is not done again."""
    features = settings.features
    num_workers = features.workers(candidates[0].subject.device)
    bank = FeatureBank(folder / "features", tell, features.batch_size, num_workers)
    dataset = open_dataset(parts, settings, bank, candidates[0].subject.size, tell)
    check_answerable(settings.tasks, dataset.questions)
    if told := impossible_neighbours(settings, len(dataset.train)):
        tell(told)
    subjects = [
        *_told_apart([candidate.subject for candidate in candidates]),
        *_told_apart(_twins(candidates)),
    ]
    examiner = Examiner(settings, dataset, folder, bank, tell)
    judgements = {subject.name: examiner.judge(subject) for subject in subjects}
    pixels = examiner.judge_pixels()
    if pixels.marks:
        judgements[PIXELS] = pixels
    sizes = {subject.name: subject.size for subject in subjects}
    comparison = tabulate(judgements, settings.seed, sizes=sizes)
    return Evaluated(comparison, judgements, dataset, candidates)


def _twins(candidates: Sequence[Candidate]) -> list[Subject]:
    """The untrained twins that differ; several are named after the first they belong to."""
    twins: dict[str, tuple[Subject, str]] = {}
    for candidate in candidates:
        twin = candidate.untrained()
        twins.setdefault(twin.fingerprint, (twin, candidate.subject.name))
    if len(twins) == 1:
        return [twin for twin, _ in twins.values()]
    return [replace(twin, name=f"{twin.name} like {name}") for twin, name in twins.values()]


def _told_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """The same subjects; those of one name get numbers."""
    names = [subject.name for subject in subjects]
    return [
        replace(subject, name=f"{subject.name} {1 + names[:place].count(subject.name)}")
        if names.count(subject.name) > 1
        else subject
        for place, subject in enumerate(subjects)
    ]


@dataclass
class Examiner:
    """Puts one row after the other through the tasks. Judgements are kept in `folder`."""

    settings: EvaluationSettings
    dataset: Dataset
    folder: Path
    bank: FeatureBank
    tell: Tell

    def judge(self, subject: Subject) -> Judgement:
        """All tasks for a network."""
        features: list[Features] = []
        if ON_FEATURES & set(self.settings.tasks):
            with_crops = "linear_sweep" in self.settings.tasks
            num_crops = self.settings.features.num_crops if with_crops else 0
            crops, seed = self.settings.features.crops(subject.size), self.settings.seed
            features = [
                self.bank.features(subject, self.dataset.train, crops, num_crops, seed),
                self.bank.features(subject, self.dataset.test),
            ]
        found = self._on_features(subject.name, _seeing(subject), features)
        return Judgement.together([found, *self._on_pictures(subject)])

    def judge_pixels(self) -> Judgement:
        """The tasks that need features only, for raw pixels."""
        features = [
            Features(rows.contiguous(), torch.zeros(len(rows), dtype=torch.long))
            for rows in (self.dataset.train_pixels, self.dataset.test_pixels)
        ]
        return self._on_features(PIXELS, PIXELS, features)

    def _on_features(self, name: str, fingerprint: str, features: Sequence[Features]) -> Judgement:
        found: dict[str, Judgement] = {}
        self.tell(f"probes: {name}")
        for question in self.dataset.questions:
            tasks = evaluations_asked(self.settings.tasks, question)
            found[question.name] = Judgement.together(
                self._kept(
                    name, fingerprint, task, question, partial(self._ask, task, question, features)
                )
                for task in tasks
            )
        return _with_means(found)

    def _ask(self, task: str, question: Question, features: Sequence[Features]) -> Judgement:
        """One task and question; quantities by linear regression."""
        train, test = features
        if question.kind == "quantity":
            return RidgeProbe().judge(
                Measurements(train.last().values, question.train.float()[:, None]),
                Measurements(test.last().values, question.test.float()[:, None]),
            )
        train, test = replace(train, labels=question.train), replace(test, labels=question.test)
        makers = feature_evaluations(task, self.settings, len(train.labels), self._named_subset())
        num_seeds = self.settings.seeds if task not in ("knn", "low_shot") else 1
        return Judgement.together(
            repeated(lambda seed: make(seed).judge(train, test), self.settings.seed, num_seeds)  # noqa: B023
            for make in makers
        )

    def _on_pictures(self, subject: Subject) -> list[Judgement]:
        asked = [q for q in self.dataset.questions if q.kind == "class"]
        if self.settings.questions is None:
            asked = asked[:1]  # each is a training of its own
        return [
            _prefixed(
                self._kept(
                    subject.name,
                    f"{_seeing(subject)} {subject.precision}",
                    task,
                    question,
                    partial(self._train, task, question, subject),
                ),
                question.name,
            )
            for task in self.settings.tasks
            if task not in ON_FEATURES
            for question in asked
        ]

    def _train(self, task: str, question: Question, subject: Subject) -> Judgement:
        """One task that trains on pictures."""
        train, test = (
            Pictures(part.source, part.indices, answers)
            for part, answers in (
                (self.dataset.train, question.train),
                (self.dataset.test, question.test),
            )
        )

        def judge(seed: int) -> Judgement:
            seen = train
            if task == "low_shot_fine_tune":
                seen = train.at(self._low_shot_places(question, seed))
            folder = self.folder / "trainings" / self._key(_seeing(subject), task, question, seed)
            evaluation = picture_evaluation(task, self.settings, seed)
            return evaluation.judge(subject, seen, test, folder, self.tell)

        found = repeated(judge, self.settings.seed, self.settings.seeds)
        return found.renamed(lambda name: name.replace("fine_tune", task, 1))

    def _low_shot_places(self, question: Question, seed: int) -> Tensor:
        named = self._named_subset()
        if named is not None:
            return named
        return LowShot(self.settings.low_shot[0]).draw(question.train, len(question.classes), seed)

    def _named_subset(self) -> Tensor | None:
        if self.settings.low_shot_names is None:
            return None
        train = self.dataset.train
        names = [train.source.name(index) for index in train.indices]
        return places_of_names(self.settings.low_shot_names, names)

    def _kept(
        self,
        name: str,
        fingerprint: str,
        task: str,
        question: Question,
        make: Callable[[], Judgement],
    ) -> Judgement:
        """The judgement of this task: read if it was made before, else made."""
        path = self.folder / "judgements" / f"{self._key(fingerprint, task, question)}.safetensors"
        if path.exists():
            return load_judgement(path)
        try:
            found = make()
        except ValueError as error:
            raise ValueError(f"{name}, {task} {question.name}".strip() + f": {error}") from error
        save_judgement(found, path)
        return found

    def _key(self, fingerprint: str, task: str, question: Question, seed: int = -1) -> str:
        """Changes with everything that a judgement depends on."""
        s = self.settings
        parts: list[object] = [fingerprint, task, question.name, *deciding(task, s)]
        parts += [seed if seed >= 0 else (s.seed, s.seeds), s.low_shot_names]
        parts += [self.dataset.train.fingerprint, self.dataset.test.fingerprint]
        return hashlib.sha256("|".join(map(repr, parts)).encode()).hexdigest()[:24]


def _seeing(subject: Subject) -> str:
    return f"{subject.fingerprint} {subject.size}"


def _prefixed(judgement: Judgement, question: str) -> Judgement:
    return judgement.renamed(lambda name: f"{question}/{name}") if question else judgement


def _with_means(judgements: dict[str, Judgement]) -> Judgement:
    """All questions' judgements in one, and for each score of several the mean over them."""
    named = [_prefixed(found, question) for question, found in judgements.items()]
    by_score: dict[str, list[Tensor]] = {}
    for found in judgements.values():
        for score, marks in found.marks.items():
            by_score.setdefault(score, []).append(marks)
    means = {
        f"mean/{score}": torch.stack(marks).mean(dim=0)
        for score, marks in by_score.items()
        if len(marks) > 1 and score != "r2"
    }
    return Judgement.together([*named, Judgement(means, {})])
