"""`jepa bench interchange`: how far features differ after weights went from one form to another."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from jepakit.core.files import write_text
from jepakit.core.randomness import generator
from jepakit.models import SIZES, Encoder, Predictor
from jepakit.models.positions import Grid, sine_cosine_positions
from jepakit.pretrained.resizing import resized
from jepakit.pretrained.weights import CONTEXT, PREDICTOR, TARGET, Description, Weights
from jepakit.runs.export import ENDINGS, FORMATS, Difference, Format, export_weights
from jepakit.runs.weights import load_weights
from jepakit.version import __version__

# Memory and time: full width always, so that rounding is that of the size, but few layers.
_NUM_LAYERS = 2
_PATCH, _SIZE, _OTHER_SIZE = 16, (64, 64), (96, 96)
_SOURCES: tuple[Format, ...] = ("huggingface", "timm", "meta", "safetensors")
_LIBRARIES: tuple[Format, ...] = ("huggingface", "timm")
_OURS = "jepakit"

Row = dict[str, float]


def bench_interchange(out: Path | None) -> int:
    """Print both tables; write the figures, after every row that is done."""
    console = Console()
    tables: dict[str, dict[str, Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, rows in (("size, reader", sizes), ("from, to", forms)):
            tables[title] = {}
            for name, row in rows(Path(folder)):
                tables[title][name] = row
                if out is not None:
                    write_text(out, _figures(out, tables))
            console.print(_table(title, tables[title]))
    console.print("largest absolute difference of tokens and pooled features, fp32")
    return 0


def _figures(out: Path, tables: Mapping[str, Mapping[str, Row]]) -> str:
    installed = ("torch", "transformers", "timm", "onnxruntime")
    versions = {"jepakit": __version__, **{name: version(name) for name in installed}}
    content = {"command": f"jepa bench interchange --out {out}", "versions": versions, **tables}
    return json.dumps(content, indent=1) + "\n"


def forms(folder: Path) -> Iterator[tuple[str, Row]]:
    """Largest differences from the networks that there were at first, per source: ViT-Ti width."""
    weights = random_weights("vit_tiny", 1)
    pictures = random_pictures(weights)
    for source in (None, *_SOURCES):
        given = weights
        if source is not None:
            place = folder / f"from-{_file(source)}"
            export_weights(weights, source, place, pictures)
            given = load_weights(str(place), torch.device("cpu")).weights()
        places = {to: folder / f"{source}-to-{_file(to)}" for to in FORMATS}
        yield (
            source or "a run",
            {to: _largest(export_weights(given, to, places[to], pictures)) for to in FORMATS},
        )


def sizes(folder: Path) -> Iterator[tuple[str, Row]]:
    """Largest differences per library, last layer and pooled, at two sizes, for every encoder."""
    for size in SIZES:
        weights = random_weights(size, _NUM_LAYERS)
        row: Row = {}
        for to in _LIBRARIES:
            row |= third_party_differences(weights, to, folder / f"{size}-{_file(to)}")
        yield f"{size}, {_NUM_LAYERS} layers", row


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
    settings = Encoder.Settings(size=size, depth=depth, patch=_PATCH)  # type: ignore[arg-type]
    narrow = Predictor.Settings(width=12 * settings.resolved().num_heads, depth=1)
    with torch.device("meta"):  # shapes
        encoder = Encoder(settings, 3, _SIZE)
        predictor = Predictor(narrow, encoder)
    networks = {TARGET: encoder, CONTEXT: encoder, PREDICTOR: predictor}
    states = {
        network: {
            name: _random(name, shape, encoder.grid) for name, shape in module.state_dict().items()
        }
        for network, module in networks.items()
    }
    return Weights(states, Description(encoder=settings, predictor=narrow, size=_SIZE))


def _random(name: str, shaped: Tensor, grid: Grid) -> Tensor:
    """Matrices by the fan-in; norms and biases apart from 1 and 0."""
    if name.endswith("pos_embed"):
        return sine_cosine_positions(grid, shaped.shape[-1])[None]
    values = torch.randn(shaped.shape)
    if shaped.ndim > 1:
        return values * (3 * shaped[0].numel()) ** -0.5
    return values * 0.2 + (1.0 if "norm" in name and name.endswith("weight") else 0.0)


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
