"""Optional packages stay in their adapter files, and the command line starts without torch."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # the dependency of pytest
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "jepakit"
# The one file that may touch each optional package; it imports it where it needs it.
ADAPTERS: dict[str, str | tuple[str, ...]] = {
    "tifffile": "data/sources/picture_files.py",
    "datasets": "data/sources/huggingface_opening.py",
    # Data sets, with the package datasets; and models.
    "huggingface_hub": ("data/sources/huggingface_opening.py", "pretrained/hub.py"),
    "pyarrow": "data/sources/parquet_files.py",  # comes with datasets
    "fsspec": "data/sources/remote_files.py",  # comes with datasets
    "wandb": "training/metrics_log.py",
    "submitit": "launch/slurm.py",
    "transformers": "pretrained/huggingface.py",
    "timm": "pretrained/timm.py",
    "onnx": "pretrained/onnx.py",
    "onnxruntime": "pretrained/onnx.py",
    "onnxscript": "pretrained/onnx.py",  # with which torch writes ONNX
    "sklearn": "evaluation/estimators.py",
    "faiss": "evaluation/nearest.py",
    "diffusers": "models/diffusion.py",
    "threadpoolctl": "evaluation/estimators.py",  # comes with scikit-learn
    "gradio": "runs/studio/page.py",
    "fastapi": "runs/studio/serving.py",  # comes with gradio
    "uvicorn": "runs/studio/serving.py",  # comes with gradio
}
# Parent classes, and types that signatures name, are needed at the top; then nothing else may
# import the adapter at its own top.
AT_THE_TOP = {"sklearn", "threadpoolctl", "gradio"}
PACKAGES = {"PIL": "pillow", "yaml": "pyyaml"}  # where an import is named otherwise
HEAVY = ("torch", "torchvision", "numpy", "pydantic", "PIL", "tensorboard")


def third_party(tree: ast.AST) -> Iterator[str]:
    """The names of the packages that a tree imports, our own and Python's left out."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in {name.split(".")[0] for name in names}:
            if name != "jepakit" and name not in sys.stdlib_module_names:
                yield name


@functools.cache
def files() -> dict[str, ast.Module]:
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }


@pytest.mark.parametrize("package", ADAPTERS)
def test_optional_packages_are_imported_late_and_in_one_file(package: str) -> None:
    for name, tree in files().items():
        if package in third_party(tree):
            adapters = ADAPTERS[package]
            assert name in ([adapters] if isinstance(adapters, str) else adapters)
            at_the_top = ast.Module([n for n in tree.body if not is_definition(n)], [])
            assert package in AT_THE_TOP or package not in third_party(at_the_top)


def test_nothing_imports_adapters_with_imports_at_the_top_unasked() -> None:
    adapters = {"jepakit.evaluation.estimators", "jepakit.sklearn", "jepakit.runs.studio.page"}
    for name, tree in files().items():
        if name == "sklearn.py":  # who imports it asks for it
            continue
        at_the_top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not adapters & {getattr(n, "module", None) for n in at_the_top}, name


def is_definition(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


def test_whatever_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=\[ ]", text)[0] for text in project["dependencies"]}
    imported = {name for tree in files().values() for name in third_party(tree)}
    assert {PACKAGES.get(name, name) for name in imported - ADAPTERS.keys()} <= declared


def test_the_command_line_starts_without_heavy_packages() -> None:
    code = "import sys, jepakit.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "jepakit.cli" in loaded
    assert not {name for name in HEAVY if name in loaded}
