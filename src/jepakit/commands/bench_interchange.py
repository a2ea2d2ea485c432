"""`jepa bench interchange`: how far features differ after weights went from one form to another."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from jepakit.core.files import write_text
from jepakit.core.randomness import generator
from jepakit.models import SIZES, Encoder, Predictor
from jepakit.pretrained.resizing import resized
from jepakit.pretrained.weights import CONTEXT, PREDICTOR, TARGET, Description, Weights
from jepakit.runs.export import ENDINGS, FORMATS, Difference, Format, export_weights
from jepakit.runs.weights import load_weights
from jepakit.version import __version__

# Memory: full width always, so that rounding is that of the size; but few layers above ViT-B.
_DEPTHS = {"vit_tiny": 12, "vit_small": 12, "vit_base": 12}
_FEW_LAYERS = 2
_PATCH, _SIZE, _OTHER_SIZE = 16, (64, 64), (96, 96)
_SOURCES: tuple[Format, ...] = ("huggingface", "timm", "meta", "safetensors")
_OF_SIZES: tuple[Format, ...] = ("huggingface", "timm", "onnx", "torch-export")
_OURS = "jepakit"

Row = dict[str, float]


def bench_interchange(out: Path | None) -> int:
    """Print both tables; write the figures."""
    console = Console()
    tables: dict[str, dict[str, Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tables["source to destination"] = _forms(Path(folder))
        console.print(_table("from, to (vit_tiny)", tables["source to destination"]))
        tables["size by reader"] = _sizes(Path(folder))
        console.print(_table("size, reader", tables["size by reader"]))
    console.print("largest absolute difference of tokens and pooled features, fp32")
    if out is not None:
        versions = {"jepakit": __version__, "torch": torch.__version__}
        content = {"command": f"jepa bench interchange --out {out}", "versions": versions}
        write_text(out, json.dumps({**content, **tables}, indent=1) + "\n")
    return 0


def _forms(folder: Path) -> dict[str, Row]:
    """Largest differences from the networks that were there at first: a row per source."""
    weights = random_weights("vit_tiny", 2)
    pictures = random_pictures(weights)
    rows: dict[str, Row] = {}
    for source in (None, *_SOURCES):
        given = weights
        if source is not None:
            place = folder / f"from-{_file(source)}"
            export_weights(weights, source, place, pictures)
            given = load_weights(str(place), torch.device("cpu")).weights()
        rows[source or "networks in memory"] = {
            to: _largest(export_weights(given, to, folder / f"{source}-to-{_file(to)}", pictures))
            for to in FORMATS
        }
    return rows


def _sizes(folder: Path) -> dict[str, Row]:
    """Largest differences per reader, last layer and pooled, at two sizes: a row per encoder."""
    rows = {}
    for size in SIZES:
        depth = _DEPTHS.get(size, _FEW_LAYERS)
        weights = random_weights(size, depth)
        row: Row = {}
        for to in _OF_SIZES:
            row |= third_party_differences(weights, to, folder / f"{size}-{_file(to)}")
        rows[f"{size}, {depth} layers"] = row
    return rows


def third_party_differences(weights: Weights, to: Format, place: Path) -> Row:
    """By reader and size of picture. timm takes one size: it gets an export for each."""
    found = export_weights(weights, to, place, random_pictures(weights))
    if to == "timm":
        larger = resized(weights, _OTHER_SIZE)
        other = place.with_name(f"{place.name}-larger")
        found += export_weights(larger, to, other, random_pictures(larger, (_OTHER_SIZE,)))
    return {
        f"{d.reader}, {d.size[0]} px": max(d.tokens, d.pooled) for d in found if d.reader != _OURS
    }


def random_weights(size: str, depth: int) -> Weights:
    """Two encoders and a predictor with weights that let every part matter."""
    torch.manual_seed(0)
    encoder = Encoder.Settings(size=size, depth=depth, patch=_PATCH, initialisation="fan_in")  # type: ignore[arg-type]
    target, context = Encoder(encoder, 3, _SIZE), Encoder(encoder, 3, _SIZE)
    narrow = Predictor.Settings(width=12 * target.num_heads, depth=1, initialisation="fan_in")
    networks: dict[str, nn.Module] = {
        **{TARGET: target, CONTEXT: context},
        PREDICTOR: Predictor(narrow, target),
    }
    with torch.no_grad():
        for network in networks.values():
            for parameter in network.parameters():
                if parameter.ndim == 1:  # biases and norms, else 0 and 1
                    parameter.add_(torch.randn_like(parameter) * 0.2)
    states = {name: network.state_dict() for name, network in networks.items()}
    return Weights(states, Description(encoder=encoder, predictor=narrow, size=_SIZE))


def random_pictures(
    weights: Weights, sizes: tuple[tuple[int, int], ...] = (_SIZE, _OTHER_SIZE)
) -> Mapping[str, Tensor]:
    """Normal noise of these sizes."""
    random = generator(0, "bench interchange")
    return {
        f"random pictures of {height} px": torch.from_numpy(
            random.standard_normal((2, weights.description.num_channels, height, width))
        ).float()
        for height, width in sizes
    }


def _largest(differences: list[Difference]) -> float:
    return max(max(d.tokens, d.pooled) for d in differences)


def _file(to: Format) -> str:
    return f"{to}{ENDINGS.get(to, '')}"


def _table(title: str, rows: Mapping[str, Row]) -> Table:
    columns = list(next(iter(rows.values())))
    table = Table(title, *columns)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.1e}" for column in columns))
    return table
