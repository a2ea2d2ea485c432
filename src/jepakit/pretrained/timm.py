"""Vision transformers of the timm library, with random, downloaded or local weights."""

from __future__ import annotations

import difflib
import json
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from jepakit.data.normalization import Statistics
from jepakit.data.sources.huggingface_opening import hub_has_network, hub_offline
from jepakit.models.backbone import Backbone
from jepakit.models.patches import as_pair
from jepakit.pretrained.names import LOCAL

# What a plain transformer of timm has; hierarchical and convolutional networks lack some of it.
_PARTS = ("patch_embed", "blocks", "norm", "num_prefix_tokens", "embed_dim")
_METHODS = ("forward_features", "forward_intermediates")
# They read pooled tokens: not what `last_layers` gives.
_CLASSIFIERS = ("head", "head_dist")
_AFTER_TOKENS = ("fc_norm", "attn_pool", *_CLASSIFIERS)
_LONGEST_HEADER = 100_000_000  # bytes, by the format's definition


class TimmBackbone(Backbone):
    """A vision transformer of timm, as evaluations see it; class and register tokens are left out.

    A model whose norm comes after pooling (BEiT, EVA-02) gives its last tokens without it, as
    timm's own `forward_features` does.
    """

    def __init__(self, model: nn.Module, num_channels: int = 3) -> None:
        """Raises `ValueError` for a network that is no plain vision transformer."""
        super().__init__()
        lacking = [name for name in (*_PARTS, *_METHODS) if not hasattr(model, name)]
        if lacking:
            raise ValueError(
                f"{type(model).__name__} is no plain vision transformer of timm (it has no "
                f"{lacking[0]}): choose one whose name begins with vit_, deit or eva02"
            )
        parts: Any = model
        self.model = model
        self.width = int(parts.embed_dim)
        self.depth = len(parts.blocks)
        self.num_heads = (
            int(getattr(getattr(parts.blocks[0], "attn", None), "num_heads", 0)) or None
        )
        self.num_channels = num_channels
        self.patch = as_pair(parts.patch_embed.patch_size)
        self._num_prefix_tokens = int(parts.num_prefix_tokens)

    def last_layers(self, views: Float[Tensor, "B C H W"], num_layers: int) -> list[Tensor]:
        """Patch tokens B N D after each of the last layers; the very last one is normed."""
        model: Any = self.model
        tokens, layers = model.forward_intermediates(
            views, indices=min(num_layers, self.depth), norm=False, output_fmt="NLC"
        )
        return [*layers[:-1], tokens[:, self._num_prefix_tokens :]]

    def parameters_by_depth(self) -> list[list[nn.Parameter]]:
        """Embeddings, each block, the final norm; without what works on pooled tokens only."""
        model: Any = self.model
        blocks = [list(block.parameters()) for block in model.blocks]
        norm = list(model.norm.parameters())
        unused = [
            parameter
            for name in _AFTER_TOKENS
            if isinstance(part := getattr(model, name, None), nn.Module)
            for parameter in part.parameters()
        ]
        taken = {id(p) for part in (*blocks, norm, unused) for p in part}
        embeddings = [p for p in model.parameters() if id(p) not in taken]
        return [embeddings, *blocks, norm]


def open_timm(
    name: str, pretrained: bool = True, size: tuple[int, int] | None = None
) -> tuple[TimmBackbone, Statistics, tuple[int, int]]:
    """The model, the normalisation that its weights expect, and its (height, width) in pixels.

    `name` is timm's, e.g. `vit_small_patch16_224.augreg_in1k`, `local-dir:FOLDER` for a folder
    with a `config.json` of timm's, or `NAME@FILE` for weights in a local .safetensors file or a
    checkpoint of tensors; no pickled code is run. Without `pretrained` and without a file the
    weights are random. `size` asks for another size of view, to which timm resamples the
    positions. Raises `ValueError` if timm is not installed, does not know the model, or its
    weights cannot be had.
    """
    name, _, file = name.partition("@")
    timm = _import_timm()
    if not name.startswith(LOCAL):
        _check_name(timm, name)
    options: dict[str, Any] = {} if size is None else {"img_size": size}
    if file:
        model = _create_from(timm, name, Path(file).expanduser(), options)
    else:
        model = _create(timm, name, pretrained, options)
    config = model.pretrained_cfg
    num_channels, *usual_size = config["input_size"]
    statistics = Statistics(mean=tuple(config["mean"]), std=tuple(config["std"]))
    return TimmBackbone(model, num_channels), statistics, size or tuple(usual_size)


def _import_timm() -> Any:
    try:
        import timm
    except ImportError:
        raise ValueError("models of timm need the package timm: pip install timm") from None
    return timm


def _check_name(timm: Any, name: str) -> None:
    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    advice = f"did you mean {', '.join(close)}?" if close else "see timm.list_models('vit_*')"
    raise ValueError(f"timm has no model {name!r}: {advice}")


def _create(timm: Any, name: str, pretrained: bool, options: Mapping[str, Any]) -> Any:
    known = timm.get_pretrained_cfg(name)  # None: a folder, or a model that nobody trained
    from_hub = pretrained and known is not None and bool(known.hf_hub_id)
    try:
        with hub_offline() if from_hub and not hub_has_network() else nullcontext():
            return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        raise ValueError(f"timm cannot make {name} of another size: {error}") from None
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        if not pretrained:
            raise ValueError(f"timm cannot make {name}: {reason}") from None
        if name.startswith(LOCAL):
            folder = name.removeprefix(LOCAL)
            raise ValueError(f"{folder} holds other weights than it says: {reason}") from None
        raise ValueError(
            f"the weights of {name} cannot be downloaded ({reason}): download its .safetensors "
            f"file where there is a connection, and give timm:{name}@FILE.safetensors"
        ) from None


def _create_from(timm: Any, name: str, file: Path, options: Mapping[str, Any]) -> Any:
    """All weights but a classifier's come from the file; timm adapts positions and old names."""
    state = {
        key: tensor
        for key, tensor in _read_weights(file).items()
        if key.partition(".")[0] not in _CLASSIFIERS
    }
    # No classes on either side: timm then checks that the file and the model agree in all names.
    source = {"state_dict": state, "num_classes": 0}
    try:
        model = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=source, num_classes=0, **options
        )
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{file} does not hold {name}, give the model's own name before the @: {reason}"
        ) from None
    model.pretrained_cfg.pop("state_dict", None)
    return model


def _read_weights(file: Path) -> dict[str, Tensor]:
    """No pickled code is run."""
    from timm.models import load_state_dict

    if not file.is_file():
        raise ValueError(f"there is no file {file}: give the path of the weights after the @")
    try:
        if file.suffix == ".safetensors":
            _check_safetensors(file)
        return dict(load_state_dict(str(file), weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is damaged or not a file of weights: {reason}") from None


def _check_safetensors(file: Path) -> None:
    """Its length is what its header says: the format's own error is no subclass to be caught."""
    with file.open("rb") as content:
        header_length = int.from_bytes(content.read(8), "little")
        header = content.read(min(header_length, _LONGEST_HEADER))
    tensors = [entry for key, entry in json.loads(header).items() if key != "__metadata__"]
    end = 8 + header_length + max((entry["data_offsets"][1] for entry in tensors), default=0)
    if file.stat().st_size != end:
        raise ValueError(f"it has {file.stat().st_size} bytes instead of {end}")
