"""The README of a published model, filled from its run: data, recipe, scores, curves, licence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepakit.core.files import write_text
from jepakit.data.sources.decoding import MODE_OF_CHANNELS
from jepakit.evaluation.comparison import Comparison
from jepakit.pretrained.companions import main_network
from jepakit.pretrained.hub import is_hub_name
from jepakit.pretrained.weights import PREDICTOR, Description, Weights
from jepakit.runs.automatic import written
from jepakit.runs.loaded import Loaded
from jepakit.runs.trained import Trained
from jepakit.runs.yaml_file import as_yaml
from jepakit.version import __version__
from jepakit.visualization.curves import PANELS, draw_curves, read_metrics

_PANELS = ("Loss", "Online probes", "Effective rank of the features")
_PAPER = "https://arxiv.org/abs/2301.08243"


def write_card(loaded: Loaded, weights: Weights, folder: Path, licence: str, name: str) -> None:
    """Write `README.md`, and `curves-….svg` and `config.yaml` if the weights come from a run.

    `name` is what `from_pretrained` takes: `ORG/NAME`, or a path. Of paths on this machine only
    the last part is told.
    """
    parts = [
        _front_matter(licence),
        f"# {Path(name).name}",
        _what(loaded, weights),
        _values(weights.description),
        _use(name, weights),
    ]
    if loaded.trained is not None:
        parts += [_data(loaded.trained), _recipe(loaded.trained)]
        parts += [_scores(loaded.trained), _curves(loaded.trained, folder)]
        write_text(
            folder / "config.yaml", as_yaml(_public(loaded.trained.config.model_dump(mode="json")))
        )
    parts.append(f"Written by jepakit {__version__}. Licence: {licence}.")
    write_text(folder / "README.md", "\n\n".join(part for part in parts if part) + "\n")


def _front_matter(licence: str) -> str:
    content = {
        "library_name": "transformers",
        "pipeline_tag": "image-feature-extraction",
        "license": licence,
        "tags": ["i-jepa", "self-supervised", "vision", "jepakit"],
    }
    return f"---\n{as_yaml(content).strip()}\n---"


def _what(loaded: Loaded, weights: Weights) -> str:
    description, size = weights.description, weights.description.encoder.resolved()
    main, height, width = main_network(weights), *description.size
    beside = [n.replace("_", " ") for n in weights.networks if n != main]
    also = f" The {' and the '.join(beside)} lie beside it as safetensors." if beside else ""
    return (
        f"A vision transformer that learned from pictures alone ([I-JEPA]({_PAPER})): width "
        f"{size.width}, depth {size.depth}, {size.num_heads} heads, patch "
        f"{description.encoder.patch}, {height} x {width} pixels, {_channels(description)}"
        f". `model.safetensors` holds the **{main.replace('_', ' ')}**.{also}"
    )


def _channels(description: Description) -> str:
    return f"{description.num_channels} channel{'s' * (description.num_channels != 1)}"


def _use(name: str, weights: Weights) -> str:
    predictor = "  # with the predictor: model.predict" if PREDICTOR in weights.networks else ""
    given = 'picture, return_tensors="pt"'
    if weights.description.num_channels not in MODE_OF_CHANNELS:  # an array H W C
        given += ', input_data_format="channels_last"'
    return (
        "## Use\n\n```python\n"
        "from transformers import AutoImageProcessor, AutoModel\n\n"
        f'processor = AutoImageProcessor.from_pretrained("{name}")\n'
        f'model = AutoModel.from_pretrained("{name}")\n'
        f"inputs = processor({given})\n"
        "tokens = model(**inputs).last_hidden_state\n"
        "features = tokens.mean(dim=1)  # as the paper evaluates it\n"
        "```\n\n```python\n"
        "import jepakit\n\n"
        f'model = jepakit.load("{"hf:" if is_hub_name(name) else ""}{name}"){predictor}\n'
        "```\n\n"
        "The processor resizes and crops a picture, not quite as jepakit does. A view of the "
        "model's own size stays as it is with `do_resize=False, do_center_crop=False`."
    )


def _values(description: Description) -> str:
    """How stored values of more than 8 bits become a picture, where the training scaled them."""
    if description.values is None:
        return ""
    low, high = description.values
    scaled = f"(stored.astype(np.float32) - {low:g}) * (255 / {high - low:g})"
    picture = "np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)"
    grey = description.num_channels == 1
    axes = "H W" if grey else "H W C"
    return (
        "## Pictures of more than 8 bits\n\n"
        f"In the training {low:g} became black and {high:g} white. `jepakit` scales stored values "
        f"so by itself; for transformers, an array `stored` ({axes}) becomes a `picture` with\n\n"
        "```python\nimport numpy as np\n"
        + ("from PIL import Image\n\n" if grey else "\n")
        + f"scaled = {scaled}\n"
        f"picture = {f'Image.fromarray({picture})' if grey else picture}\n"
        "```"
    )


def _data(trained: Trained) -> str:
    data = trained.config.data
    content = {
        "source": _public(written(data.source)),
        "normalization": trained.normalise.statistics.model_dump(mode="json"),
    }
    return f"## Data\n\n```yaml\n{as_yaml(content).strip()}\n```"


def _public(content: Any) -> Any:
    """The same without the names of folders on this machine."""
    if isinstance(content, dict):
        return {name: _public(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_public(value) for value in content]
    if isinstance(content, str) and content.startswith(("/", "~")):
        return Path(content).name
    return content


def _recipe(trained: Trained) -> str:
    config = trained.config
    height, width = config.data.view.size
    smallest, largest = config.data.view.scale
    rows = {
        "views": f"{height} x {width} pixels, crops of {smallest:g} to {largest:g} of the area",
        "optimizer steps": trained.step if trained.step is not None else "not known",
        "epochs": f"{config.optimization.epochs:g}",
        "batch": config.batch.size,
        "learning rate": f"{config.optimization.lr:g}",
        "target encoder (EMA)": " to ".join(f"{value:g}" for value in config.objective.ema),
        "predictor": f"width {config.predictor.width}, depth {config.predictor.depth}",
        "masks": config.masking.kind,
        "seed": config.seed,
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    head = "## Recipe\n\nAll settings: `config.yaml`.\n\n| | |\n|---|---|\n"
    return head + "\n".join(lines)


def _scores(trained: Trained) -> str:
    if not trained.folder.scores.is_file():
        return ""
    comparison = Comparison.load(trained.folder.scores)
    columns = comparison.columns
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for row, scores in comparison.scores.items():
        cells = [str(scores[column]) if column in scores else "" for column in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return f"## Scores\n\n{comparison.caption()}\n\n" + "\n".join(lines)


def _curves(trained: Trained, folder: Path) -> str:
    if not trained.folder.metrics.is_file():
        return ""
    panels = [panel for panel in PANELS if panel.title in _PANELS]
    lines = []
    for drawing in draw_curves(read_metrics(trained.folder.metrics), panels, others=False):
        file = f"curves-{drawing.title.lower().replace(' ', '-')}.svg"
        write_text(folder / file, drawing.standalone())
        lines.append(f"![{drawing.words}]({file})")
    return "## Curves\n\n" + "\n".join(lines) if lines else ""
