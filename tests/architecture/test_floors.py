"""The floors of docs/tour.md: who may import whom, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from jepakit import evaluation, masking, objectives
from jepakit.data import sources
from jepakit.training import monitors

SOURCE = Path(__file__).parents[2] / "src" / "jepakit"
FLOORS = {
    "version": -1,
    "core": 0,
    **dict.fromkeys(("data", "masking", "models", "launch"), 1),
    **dict.fromkeys(("objectives", "evaluation", "visualization", "pretrained"), 2),
    "training": 3,
    "runs": 4,
    "commands": 5,
    "api": 6,
    "cli": 6,
    "sklearn": 7,
    "__main__": 7,
    "__init__": 8,  # what Python users import, when they ask for it
}
FIRST_FLOOR_THAT_KNOWS_VARIANTS = 4
# Below that floor, monitors alone name variants: each looks at methods that it knows.
LOOKERS = "training.monitors"
FAMILIES: dict[ModuleType, dict[str, type]] = {
    masking: masking.MASKINGS,
    objectives: objectives.OBJECTIVES,
    evaluation: evaluation.EVALUATIONS,
    sources: sources.SOURCES,
    monitors: monitors.MONITORS,
}


def module_name(path: Path) -> str:
    """`.../jepakit/data/loader.py` -> `data.loader`; a package by its own name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports_of(text: str, known: set[str]) -> Iterator[str]:
    """The modules of the package that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [
                name if name.removeprefix("jepakit.") in known else str(node.module)
                for name in inner
            ]
        else:
            continue
        for name in names:
            if name == "jepakit":
                yield "__init__"
            elif name.startswith("jepakit."):
                yield name.removeprefix("jepakit.")


def top(module: str) -> str:
    return module.split(".")[0]


def broken_floors(module: str, imported: list[str]) -> list[str]:
    """Imports that go sideways or up."""
    return [
        name
        for name in imported
        if top(name) != top(module) and FLOORS[top(name)] >= FLOORS[top(module)]
    ]


def short(name: str) -> str:
    return name.removeprefix("jepakit.")


def variants_of(family: ModuleType) -> set[str]:
    """The files of a family's table."""
    return {short(kind.__module__) for kind in FAMILIES[family].values()}


def named_variants(module: str, imported: list[str]) -> list[str]:
    """Imports by which a file below floor 4 knows a family's table or variants from outside it."""
    if FLOORS[top(module)] >= FIRST_FLOOR_THAT_KNOWS_VARIANTS or module.startswith(LOOKERS):
        return []
    return [
        name
        for name in imported
        for family in FAMILIES
        if name in variants_of(family) | {short(family.__name__)}
        and not f"{module}.".startswith(f"{short(family.__name__)}.")
    ]


KNOWN = set(modules())
IMPORTS = {
    name: list(imports_of(path.read_text(encoding="utf-8"), KNOWN))
    for name, path in modules().items()
}


def test_every_folder_has_a_floor() -> None:
    assert {top(name) for name in KNOWN} == FLOORS.keys()


@pytest.mark.parametrize("folder", FLOORS)
def test_imports_go_down_or_stay_at_home(folder: str) -> None:
    wrong = {
        name: bad
        for name, imported in IMPORTS.items()
        if top(name) == folder and (bad := broken_floors(name, imported))
    }
    assert not wrong


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_variants_never_import_each_other(family: ModuleType) -> None:
    variants = variants_of(family)
    assert len(variants) == len(FAMILIES[family]), "one file per variant"
    for name in variants:
        assert not (set(IMPORTS[name]) & variants) - {name}


def test_only_runs_and_above_know_variants() -> None:
    assert not {
        name: bad for name, imported in IMPORTS.items() if (bad := named_variants(name, imported))
    }


def test_planted_violations_are_found() -> None:
    planted = (
        "import jepakit.commands.demo\n"
        "from jepakit.data import views\n"
        "from jepakit.core.tensors import Batch\n"
        "def late():\n    from jepakit.training.trainer import Trainer\n"
    )
    imported = list(imports_of(planted, KNOWN))
    assert imported == [
        "commands.demo",
        "data.views",
        "core.tensors",
        "training.trainer",
    ]
    assert broken_floors("models.encoder", imported) == [
        "commands.demo",
        "data.views",
        "training.trainer",
    ]
    named = ["objectives.ijepa", "objectives", "masking.masking", "masking.block"]
    assert named_variants("training.trainer", named) == [
        "objectives.ijepa",
        "objectives",
        "masking.block",
    ]
