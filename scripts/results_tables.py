"""Fills the tables of results/*/README.md, the README and a guide from JSON files; `--check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
BASELINES = ("random encoder", "raw pixels")
BEGIN, END = "<!-- results -->", "<!-- /results -->"


def cell(score: dict[str, float]) -> str:
    """A score in percent with its interval."""
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f}-{high:.1f})"


def table(folder: Path, columns: dict[str, str]) -> str:
    """One line per run below a results folder; the baselines are the same for all, so once."""
    lines = [
        f"| {' | '.join(['features', *columns.values()])} |",
        f"|{'---|' * (len(columns) + 1)}",
    ]
    baselines: dict[str, str] = {}
    for path in sorted(folder.glob("*/scores.json")):
        for row, scores in json.loads(path.read_text(encoding="utf-8"))["scores"].items():
            cells = " | ".join(cell(scores[c]) if c in scores else "–" for c in columns)
            line = f"| {row} | {cells} |"
            if row in BASELINES:
                baselines.setdefault(row, line)
            else:
                lines.append(line)
    return "\n".join([*lines, *baselines.values()])


CLASSES = {"knn_20": "k-NN (k = 20)", "linear": "linear"}
TASKS = {
    "count/linear": "count",
    "nearest_distance_class/linear": "nearest distance",
    "nearest_shape/linear": "shape",
    "nearest_colour/linear": "colour",
    "mean/linear": "mean, linear",
    "mean/knn_20": "mean, k-NN",
}
PROTOCOLS = {
    "knn_20": "k-NN",
    "linear": "linear",
    "linear_sweep": "linear sweep",
    "low_shot_1pct": "1 %",
    "low_shot_5": "5 per class",
    "low_shot_fine_tune": "1 %, fine-tuned",
    "attentive": "attentive",
    "fine_tune": "fine-tuned, 4 epochs",
}
ANOMALIES = {
    f"{kind}{place}": f"{kind}{place.replace('/', ', ')}"
    for kind in ("pasted object", "swapped patches", "turned patches")
    for place in ("", "/same place")
}
TABLES = {
    "imagenette-gpu": CLASSES,
    "imagenette-cpu": CLASSES,
    "evaluation-cpu": PROTOCOLS,
    "scenes-cpu": TASKS,
    "scenes-shortened-cpu": TASKS,
}
SEEING = ROOT / "results" / "see"


SPEEDS = ROOT / "results" / "data-speed"
USUAL = "torchvision, files"


def speed_table(file: Path) -> str:
    """Medians, and in brackets medians of the ratios to torchvision within each round."""
    measured = json.loads(file.read_text(encoding="utf-8"))
    speeds: dict[str, dict[str, list[float]]] = measured["images_per_second"]
    names = list(dict.fromkeys(name for found in speeds.values() for name in found))
    title = f"{measured['pictures']} pictures, views of {measured['size']} px, images/s"
    lines = [f"| {title} | {' | '.join(speeds)} |", f"|{'---|' * (len(speeds) + 1)}"]
    for name in names:
        cells = [speed_cell(found.get(name), found.get(USUAL)) for found in speeds.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def speed_cell(speeds: list[float] | None, usual: list[float] | None) -> str:
    """`460 (1.52 x)`."""
    if speeds is None or usual is None:
        return "–"
    ratio = median(speed / other for speed, other in zip(speeds, usual, strict=True))
    return f"{median(speeds):.0f} ({ratio:.2f} x)"


DECODERS = [ROOT / "results" / "see" / f"decoder{which}.json" for which in ("", "-guidance3")]


def decoder_table(file: Path) -> str:
    """What a decoder draws, by what it is told; columns as in the file."""
    rows: dict[str, dict[str, dict[str, float]]] = json.loads(file.read_text("utf-8"))["scores"]
    columns = list(next(iter(rows.values())))
    lines = [f"| told ({file.name}) | {' | '.join(c.replace('/', ', ') for c in columns)} |"]
    lines.append(f"|{'---|' * (len(columns) + 1)}")
    for name, scores in rows.items():
        lines.append(f"| {name} | {' | '.join(cell(scores[c]) for c in columns)} |")
    return "\n".join(lines)


def retrieval_table() -> str:
    """How often the truth is nearer to a prediction than what other pictures hold."""
    lines = ["| whose prediction | pictures | its own content is nearer, % |", "|---|---|---|"]
    for file in sorted(SEEING.glob("retrieval-*.json"), reverse=True):
        pictures = file.stem.removeprefix("retrieval-")
        for name, scores in json.loads(file.read_text("utf-8"))["scores"].items():
            who = "trained networks" if name == "prediction" else name
            lines.append(f"| {who} | {pictures} | {cell(scores['nearer than others'])} |")
    return "\n".join(lines)


def filled(text: str, content: str) -> str:
    """The text with the part between the marks replaced."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{content}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Fill in, or compare."""
    tables = {name: table(ROOT / "results" / name, columns) for name, columns in TABLES.items()}
    pages = {ROOT / "results" / name / "README.md": content for name, content in tables.items()}
    pages[ROOT / "README.md"] = "\n\n".join(
        f"`results/{name}/`, percent of the test pictures (95 % interval):\n\n{content}"
        for name, content in tables.items()
    )
    speeds = "\n\n".join(speed_table(file) for file in sorted(SPEEDS.glob("*.json")))
    pages[SPEEDS / "README.md"] = pages[ROOT / "docs/guides/feeding-the-gpu.md"] = speeds
    pages[DECODERS[0].with_suffix(".md")] = "\n\n".join(map(decoder_table, DECODERS))
    pages[SEEING / "README.md"] = f"{table(SEEING, ANOMALIES)}\n\n{retrieval_table()}"
    stale = []
    for page, content in pages.items():
        text = page.read_text(encoding="utf-8")
        renewed = filled(text, content)
        if renewed != text:
            stale.append(str(page.relative_to(ROOT)))
            if "--check" not in sys.argv:
                page.write_text(renewed, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"tables out of date in {', '.join(stale)}: run python scripts/results_tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
