"""Weights out: written beside their place, read again by whoever will read them, then renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.core.errors import RunFailed
from jepakit.core.files import folder_beside
from jepakit.models import Encoder
from jepakit.pretrained.companions import main_network
from jepakit.pretrained.huggingface import open_with_transformers, write_huggingface
from jepakit.pretrained.meta import write_meta
from jepakit.pretrained.onnx import OnnxEncoder, OnnxPrecision, write_onnx
from jepakit.pretrained.plain import write_plain
from jepakit.pretrained.timm import open_timm
from jepakit.pretrained.timm_folder import write_timm_folder
from jepakit.pretrained.torch_export import TorchExported, write_torch_export
from jepakit.pretrained.weights import Weights, build
from jepakit.runs.weights import load_weights

Format = Literal["huggingface", "timm", "meta", "safetensors", "onnx", "torch-export"]
ENDINGS = {
    **{"meta": ".pth.tar", "safetensors": ".safetensors"},
    **{"onnx": ".onnx", "torch-export": ".pt2"},
}
FORMATS: tuple[Format, ...] = ("huggingface", "timm", "meta", "safetensors", "onnx", "torch-export")
_CPU = torch.device("cpu")
# Of the largest value: what differs more is not rounding but another network.
_TOLERANCE = 1e-4

Reader = Callable[[Float[Tensor, "B C H W"]], Tensor]  # normalised pictures -> tokens B N D


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference that one reader's features have from ours."""

    reader: str
    pictures: str
    size: tuple[int, int]
    tokens: float
    pooled: float
    largest: float  # absolute value among our own features

    def __str__(self) -> str:
        """One line for people."""
        height, width = self.size
        return (
            f"{self.reader}, {self.pictures}, {height} x {width}: tokens {self.tokens:.2g}, "
            f"pooled {self.pooled:.2g} (features reach {self.largest:.2g})"
        )


def export_weights(
    weights: Weights,
    to: Format,
    out: Path,
    pictures: Mapping[str, Tensor],
    *,
    precision: OnnxPrecision = "fp32",
    overwrite: bool = False,
    also: Callable[[Path], None] = lambda folder: None,
) -> list[Difference]:
    """Write weights to `out`, read them again, compare, and only then put them in place.

    `pictures` are normalised and may be of several sizes, by what they are; `also` writes further
    files into a folder. `ValueError` for what cannot be written there, `RunFailed` if what was
    read again differs: then nothing is left.
    """
    check_ending(to, out)
    with folder_beside(out, overwrite) as beside:
        path = beside / out.name
        if to in ("huggingface", "timm"):
            path.mkdir()
            also(path)
        readers = _WRITERS[to](weights, path, precision)
        differences = compare(weights, readers, pictures)
        if precision == "fp32":
            _refuse_other_features(differences)
    return differences


def check_ending(to: Format, out: Path) -> None:
    """`ValueError` if the name does not end as files of this kind do."""
    ending = ENDINGS.get(to)
    if ending is not None and not out.name.endswith(ending):
        raise ValueError(f"--to {to} writes one file: call it {out.name or 'model'}{ending}")
    if ending is None and out.suffix in ENDINGS.values():
        raise ValueError(f"--to {to} writes a folder: leave {out.suffix} out of its name")


def main_encoder(weights: Weights) -> Encoder:
    """The encoder that an export is about, in float32 on the CPU."""
    main = main_network(weights)
    networks = {main: weights.networks[main]}
    built = build(Weights(networks, weights.description), "the model").named()[main]
    assert isinstance(built, Encoder)
    return built


@torch.no_grad()
def compare(
    weights: Weights, readers: Mapping[str, Reader], pictures: Mapping[str, Tensor]
) -> list[Difference]:
    """Every reader against our own encoder, on every set of pictures that it takes."""
    encoder = main_encoder(weights)
    found = []
    for words, views in pictures.items():
        ours = encoder(views)
        for name, reader in readers.items():
            size = (views.shape[-2], views.shape[-1])
            if size != weights.description.size and not _takes_other_sizes(name, encoder):
                continue
            theirs = reader(views)
            found.append(
                Difference(
                    reader=name,
                    pictures=words,
                    size=size,
                    tokens=(theirs - ours).abs().max().item(),
                    pooled=(theirs.mean(1) - ours.mean(1)).abs().max().item(),
                    largest=ours.abs().max().item(),
                )
            )
    return found


def _takes_other_sizes(reader: str, encoder: Encoder) -> bool:
    """timm's models take one size; transformers resamples square grids of square patches only."""
    if reader == "transformers":
        return len({*encoder.grid}) == len({*encoder.patch_embed.patch}) == 1
    return reader != "timm"


def _refuse_other_features(differences: list[Difference]) -> None:
    for difference in differences:
        if not difference.tokens <= _TOLERANCE * max(1.0, difference.largest):
            raise RunFailed(f"what was read again differs, so nothing was written: {difference}")


def _write_huggingface(weights: Weights, path: Path, precision: OnnxPrecision) -> dict[str, Reader]:
    write_huggingface(weights, path)
    readers = {"jepakit": _read_again(weights, f"{path}")}
    model = open_with_transformers(path)

    def theirs(views: Tensor) -> Tensor:
        size = (views.shape[-2], views.shape[-1])
        other = size != weights.description.size
        return model(pixel_values=views, interpolate_pos_encoding=other).last_hidden_state

    return {**readers, "transformers": theirs}


def _write_timm(weights: Weights, path: Path, precision: OnnxPrecision) -> dict[str, Reader]:
    write_timm_folder(weights, path)
    readers = {"jepakit": _read_again(weights, f"{path}")}
    backbone = open_timm(f"local-dir:{path}")[0].eval()
    return {**readers, "timm": lambda views: backbone.last_layers(views, 1)[0]}


def _write_meta(weights: Weights, path: Path, precision: OnnxPrecision) -> dict[str, Reader]:
    write_meta(weights, path)
    return {"jepakit": _read_again(weights, f"{path}")}


def _write_plain(weights: Weights, path: Path, precision: OnnxPrecision) -> dict[str, Reader]:
    write_plain(weights, path)
    return {"jepakit": _read_again(weights, f"{path}")}


def _write_onnx(weights: Weights, path: Path, precision: OnnxPrecision) -> dict[str, Reader]:
    write_onnx(main_encoder(weights), weights.description, path, precision)
    return {"onnxruntime": partial(_tokens, OnnxEncoder(path))}


def _write_torch_export(
    weights: Weights, path: Path, precision: OnnxPrecision
) -> dict[str, Reader]:
    write_torch_export(main_encoder(weights), weights.description, path)
    return {"torch.export": partial(_tokens, TorchExported(path))}


_WRITERS: dict[str, Callable[[Weights, Path, OnnxPrecision], dict[str, Reader]]] = {
    "huggingface": _write_huggingface,
    "timm": _write_timm,
    "meta": _write_meta,
    "safetensors": _write_plain,
    "onnx": _write_onnx,
    "torch-export": _write_torch_export,
}


def _tokens(reader: Callable[[Tensor], tuple[Tensor, Tensor]], views: Tensor) -> Tensor:
    return reader(views)[0]


def _read_again(weights: Weights, name: str) -> Reader:
    """Our own reader, after every tensor of every network was found equal to the last bit."""
    main = main_network(weights)
    branch: Literal["target", "context"] = "context" if main.startswith("context") else "target"
    loaded = load_weights(name, _CPU, branch)
    again = loaded.weights().networks
    for network, state in weights.networks.items():
        for key, tensor in state.items():
            if network not in again or not torch.equal(again[network][key], tensor):
                raise RunFailed(f"{network}.{key} was read again with other values from {name}")
    if set(again) != set(weights.networks):
        raise RunFailed(f"{name} holds {', '.join(again)} instead of {', '.join(weights.networks)}")
    return loaded.encoder.__call__  # type: ignore[no-any-return]
