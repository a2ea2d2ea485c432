"""A loaded network as Python users see it: pictures of any kind in, features out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from jepakit.core.devices import Precision, autocast, choose_device, choose_precision
from jepakit.data.picture_inputs import PictureInputs
from jepakit.data.sources.decoding import Decoding
from jepakit.evaluation.features import Pool, Reading, evaluating
from jepakit.evaluation.subject import Subject
from jepakit.objectives.ijepa import DISTANCES
from jepakit.pretrained.weights import Branch
from jepakit.runs.loaded import Loaded, LoadReport
from jepakit.runs.mistakes import meant
from jepakit.runs.model_inputs import ModelInputs, Size
from jepakit.runs.prediction import Prediction, Seen, check_can_predict, predict
from jepakit.runs.subjects import fingerprint_of
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import check

Out = Literal["numpy", "torch"]
T = TypeVar("T")


class Model:
    """An encoder, perhaps with its predictor, and all that it takes to give it pictures.

    Every method takes `pictures` of any kind: PIL images, paths, numpy arrays (H W C, B H W C),
    tensors (C H W, B C H W), or an iterable of these, mixed; a generator may be long, since a batch
    at a time is held. Arrays are uint8, uint16, or floats from 0 to 1.

    `size` is what the network sees, (height, width) in pixels or one number: the middle of each
    picture, cut out and resized; None is `self.size` (of a run: `data.test_size`), and "whole" is
    each picture as it is. Position codes are resampled for sizes other than that of the training.
    """

    def __init__(
        self,
        loaded: Loaded,
        device: torch.device,
        precision: Precision,
        values: tuple[float, float] | None = None,
    ) -> None:
        self.loaded, self.device, self.precision = loaded, device, precision
        self.encoder = loaded.encoder
        # Which stored values of other than 8 bits become black and white; None = all of 16 bits.
        self.values = values or loaded.values
        self._inputs = ModelInputs(loaded, self.values)
        self.size = loaded.size
        self.width, self.depth = self.encoder.width, self.encoder.depth
        self.patch, self.num_channels = self.encoder.patch, self.encoder.num_channels

    @property
    def name(self) -> str:
        """What was loaded."""
        return self.loaded.name

    @property
    def report(self) -> LoadReport:
        """Which tensors were used, left over and missing."""
        return self.loaded.report

    @cached_property
    def subject(self) -> Subject:
        """The same encoder as evaluations see it."""
        fingerprint = fingerprint_of(self.encoder, self.loaded.normalise)
        return Subject(
            self.name,
            self.encoder,
            self.loaded.normalise,
            self.size,
            fingerprint,
            self.device,
            self.precision,
        )

    def checked_size(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        """Height and width of what is seen; `ValueError` if the encoder cannot take it."""
        return self._inputs.centre_view(size).size

    @overload
    def features(
        self,
        pictures: PictureInputs,
        *,
        layers: tuple[int, ...] = ...,
        pool: Pool = ...,
        size: Size = ...,
        batch_size: int = ...,
        out: Literal["numpy"] = ...,
    ) -> np.ndarray: ...

    @overload
    def features(
        self,
        pictures: PictureInputs,
        *,
        layers: tuple[int, ...] = ...,
        pool: Pool = ...,
        size: Size = ...,
        batch_size: int = ...,
        out: Literal["torch"],
    ) -> Tensor: ...

    def features(
        self,
        pictures: PictureInputs,
        *,
        layers: tuple[int, ...] = (-1,),
        pool: Pool = "mean",
        size: Size = None,
        batch_size: int = 64,
        out: Out = "numpy",
    ) -> np.ndarray | Tensor:
        """Float32 features B D of the pictures: the average of the last layer's tokens.

        `layers` names others, counted from 0 or backwards from -1: their features stand side by
        side. `pool` is "mean", "max" or "none" (B N D). With `out="torch"` they stay on the device.
        Raises `ValueError` with one sentence for pictures that cannot be used, and for none at all.

        >>> model.features("pictures/cat.png").shape
        (1, 32)
        >>> black = np.zeros((40, 30, 3), np.uint8)
        >>> model.features(["pictures/cat.png", black], layers=(-2, -1)).shape
        (2, 64)
        """
        reading = Reading(_numbers(layers), pool)
        reading.check(self.depth)
        read = partial(reading, self.encoder)
        return _given_out(self._through(read, pictures, size, batch_size), out)

    @overload
    def tokens(
        self,
        pictures: PictureInputs,
        *,
        layer: int = ...,
        size: Size = ...,
        batch_size: int = ...,
        out: Literal["numpy"] = ...,
    ) -> np.ndarray: ...

    @overload
    def tokens(
        self,
        pictures: PictureInputs,
        *,
        layer: int = ...,
        size: Size = ...,
        batch_size: int = ...,
        out: Literal["torch"],
    ) -> Tensor: ...

    def tokens(
        self,
        pictures: PictureInputs,
        *,
        layer: int = -1,
        size: Size = None,
        batch_size: int = 64,
        out: Out = "numpy",
    ) -> np.ndarray | Tensor:
        """The tokens of a layer as maps: B rows columns D, float32, ready to draw.

        >>> model.tokens("pictures/cat.png").shape
        (1, 4, 4, 32)
        """
        if not isinstance(layer, int | np.integer):
            raise ValueError(f"layer={layer!r} is no whole number: write e.g. layer=-1")
        reading = Reading((int(layer),), "none")
        reading.check(self.depth)

        def read(inputs: Tensor) -> Tensor:
            grid = self.encoder.rows_and_columns(*inputs.shape[-2:])
            return reading(self.encoder, inputs).unflatten(1, grid)

        return _given_out(self._through(read, pictures, size, batch_size), out)

    def views(self, pictures: PictureInputs, *, size: Size = None) -> UInt8[np.ndarray, "B H W C"]:
        """What the network sees of the pictures, to draw beside tokens and energies."""
        found = list(self._inputs.batches(pictures, size, batch_size=64))
        return _together(found).permute(0, 2, 3, 1).numpy()

    def predict(
        self,
        pictures: PictureInputs,
        *,
        target: Sequence[int],
        context: Seen | None = None,
        size: Size = None,
        distance: Literal["smooth_l1", "l2", "l1"] = "smooth_l1",
        batch_size: int = 64,
    ) -> Prediction:
        """What the predictor expects in a hidden box, and how far that is from what is there.

        `target` is a box (top, left, height, width) in pixels of what the network sees (`views`),
        whose edges lie on edges of patches. `context` is what the context encoder may see: another
        box, or booleans rows x columns, one per patch; without it, everything outside the target.
        `distance` is averaged over the width of the tokens; that of the training is "smooth_l1".
        Raises `ValueError` if there is no predictor, and for boxes that are not whole patches.

        >>> prediction = model.predict("pictures/cat.png", target=(8, 8, 16, 16))
        >>> prediction.predicted.shape, prediction.energy.shape, prediction.mean.shape
        ((1, 2, 2, 32), (1, 2, 2), (1,))
        """
        check_can_predict(self.loaded)
        if distance not in DISTANCES:
            told = meant(distance, tuple(DISTANCES))
            raise ValueError(f"distance={distance!r} is unknown: {told}")
        run = partial(predict, self.loaded, target=target, context=context, distance=distance)
        return Prediction.together(list(self._through(run, pictures, size, batch_size)))

    def __repr__(self) -> str:
        which = f"{self.loaded.branch} encoder" if self.loaded.branch else "encoder"
        beside = "with" if self.loaded.predictor is not None else "without"
        (height, width), (rows, columns) = self.size, self.patch
        return (
            f"Model({self.name}: {which}, {self.depth} layers of width {self.width}, patches of "
            f"{rows} x {columns}, {self.num_channels} x {height} x {width} pixels, {beside} "
            f"predictor, on {self.device} in {self.precision})"
        )

    def _through(
        self, read: Callable[[Tensor], T], pictures: PictureInputs, size: Size, batch_size: int
    ) -> Iterator[T]:
        """What is read of each batch, as inputs on the device."""
        loaded = self.loaded
        networks = nn.ModuleList(
            network
            for network in (
                loaded.encoder,
                loaded.context_encoder,
                loaded.target_encoder,
                loaded.predictor,
            )
            if network is not None
        )
        for views in self._inputs.batches(pictures, size, batch_size):
            with (
                torch.no_grad(),
                evaluating(networks),
                autocast(self.device, self.precision),
            ):
                yield read(loaded.normalise(views.to(self.device)))


def open_model(
    name: str,
    device: str = "auto",
    branch: Branch = "target",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    revision: str | None = None,
    partial: bool = False,
    values: tuple[float, float] | None = None,
) -> Model:
    """What `jepakit.load` gives; see there."""
    if precision not in (*get_args(Precision), "auto"):
        known = ("auto", *get_args(Precision))
        raise ValueError(f"precision={precision!r} is unknown: {meant(precision, known)}")
    chosen = choose_device(device)
    loaded = load_weights(name, chosen, branch, revision, partial)
    if values is not None:
        values = check(Decoding, {"values": values}).values
    return Model(loaded, chosen, choose_precision(chosen, precision), values)


def _numbers(layers: Any) -> tuple[int, ...]:
    """One number or several."""
    several = tuple(layers) if isinstance(layers, list | tuple) else (layers,)
    if not all(isinstance(one, int | np.integer) for one in several):
        raise ValueError(f"layers={layers!r} is no whole number: write e.g. layers=(-2, -1)")
    return tuple(int(one) for one in several)


def _together(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all batches."""
    if len({part.shape[1:] for part in parts}) > 1:
        sizes = ", ".join(str(list(shape)) for shape in {part.shape[1:] for part in parts})
        raise ValueError(
            f"pictures of several sizes do not fit into one array ({sizes}): give size=NUMBER"
        )
    return torch.cat(list(parts))


def _given_out(parts: Iterator[Tensor], out: Out) -> Any:
    """As one array, or as one tensor on the device."""
    if out not in get_args(Out):
        raise ValueError(f"out={out!r} is unknown: {meant(out, get_args(Out))}")
    if out == "torch":
        return _together(list(parts))
    return _together([part.cpu() for part in parts]).numpy()
