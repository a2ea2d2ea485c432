"""Test pictures that are also in the training set: found by perceptual hashes, then compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

MOST_DIFFERENT = 3  # bits; at more, equal 16-bit pieces would no longer be certain

_SIDE = 32  # pixels of the grey picture that is hashed
_THUMBNAIL = 16  # pixels a side of the grey picture that is kept for the comparison
_LUMINANCE = (0.299, 0.587, 0.114)
_NUM_PIECES, _PIECE_VALUES = 4, 2**16
_CANDIDATES_AT_ONCE = 2**18
_FLATTEST = 4.0  # grey levels of deviation; below, a hash is noise and nothing can be confirmed
# Of the deviation, anywhere, once brightness and contrast are equal. Copies of photographs differ
# by up to 0.64 where a change of contrast cut off the lightest, different ones by 1.4 and more.
_LARGEST_RESIDUAL = 0.8


@dataclass(frozen=True)
class Fingerprints:
    """What is kept of pictures to find them again: 264 bytes each, in the pictures' order."""

    hashes: Int[np.ndarray, " N"]
    thumbnails: UInt8[np.ndarray, "N P"]  # grey, flattened

    def __len__(self) -> int:
        return len(self.hashes)


@dataclass(frozen=True)
class Duplicate:
    """A test picture, the training picture most like it, and the bits that differ."""

    test: int
    train: int
    distance: int


def fingerprints(views: UInt8[Tensor, "B C H W"]) -> Fingerprints:
    """Of a batch of pictures. Both sets must be viewed alike: same crop, any resolution."""
    return Fingerprints(hashes(views).numpy(force=True), _thumbnails(views).numpy(force=True))


def join(batches: Sequence[Fingerprints]) -> Fingerprints:
    """One set from its batches, in order."""
    return Fingerprints(
        np.concatenate([batch.hashes for batch in batches]),
        np.concatenate([batch.thumbnails for batch in batches]),
    )


def hashes(views: UInt8[Tensor, "B C H W"]) -> Int[Tensor, " B"]:
    """64 bits per picture: the signs of its lowest frequencies (discrete cosine transform).

    Pictures whose grey values agree up to brightness and contrast differ in few bits.
    """
    grey = _grey(views, _SIDE)
    cosines = _cosines().to(grey)
    spectrum = (cosines @ grey @ cosines.T).flatten(1)
    return ((spectrum > 0).long() << torch.arange(64, device=views.device)).sum(1)


def find_duplicates(
    train: Fingerprints, test: Fingerprints, most_different: int = MOST_DIFFERENT
) -> list[Duplicate]:
    """For every test picture that is also a training picture, the nearest such one.

    Candidates differ in at most `most_different` (0 to 3) of 64 bits, all of which are found: one
    of four pieces of 16 bits must then be equal. A candidate counts if the thumbnails agree
    everywhere, brightness and contrast aside. Flat pictures are never duplicates. Among equally
    near ones the first is given. Memory is a few numbers per picture and 2**18 candidates.
    """
    if not 0 <= most_different <= MOST_DIFFERENT:
        raise ValueError(f"most_different={most_different} must be 0 to {MOST_DIFFERENT}")
    return _nearest(train, test, most_different, only_earlier=False)


def find_repeats(pictures: Fingerprints) -> list[Duplicate]:
    """As `find_duplicates` within one set: every picture that looks like an earlier one of it.

    `test` is then the picture's place and `train` that of the earlier one.
    """
    return _nearest(pictures, pictures, MOST_DIFFERENT, only_earlier=True)


def _nearest(
    train: Fingerprints, test: Fingerprints, most_different: int, only_earlier: bool
) -> list[Duplicate]:
    train_places, test_places = (np.flatnonzero(~_is_flat(part)) for part in (train, test))
    unknown = (most_different + 1) * len(train) + 1
    best = np.full(len(test), unknown, np.int64)  # distance and training picture in one number
    train_pieces, test_pieces = _pieces(train.hashes), _pieces(test.hashes)
    for piece in range(_NUM_PIECES):
        for a, b in _equal(
            train_pieces[:, piece], train_places, test_pieces[:, piece], test_places
        ):
            distance = _BIT_COUNTS[train_pieces[a] ^ test_pieces[b]].sum(1)
            near = (distance <= most_different) & ((a < b) | (not only_earlier))
            a, b, distance = a[near], b[near], distance[near]
            new = distance * len(train) + a < best[b]
            a, b, distance = a[new], b[new], distance[new]
            same = _look_alike(train.thumbnails[a], test.thumbnails[b])
            np.minimum.at(best, b[same], distance[same] * len(train) + a[same])
    return [
        Duplicate(int(place), int(best[place] % len(train)), int(best[place] // len(train)))
        for place in np.flatnonzero(best < unknown)
    ]


def _grey(views: UInt8[Tensor, "B C H W"], side: int) -> Float[Tensor, "B S S"]:
    """Shrunk first: this is what takes time."""
    small = F.interpolate(views.float(), size=(side, side), mode="bilinear", antialias=True)
    if small.shape[1] != len(_LUMINANCE):
        return small.mean(1)
    return torch.einsum("bchw,c->bhw", small, small.new_tensor(_LUMINANCE))


def _thumbnails(views: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B P"]:
    return _grey(views, _THUMBNAIL).round().clamp(0, 255).to(torch.uint8).flatten(1)


@cache
def _cosines() -> Float[Tensor, "8 S"]:
    """The lowest frequencies of the discrete cosine transform, without the constant one."""
    frequency = torch.arange(1, 9, dtype=torch.float64)[:, None]
    place = torch.arange(_SIDE, dtype=torch.float64) + 0.5
    return torch.cos(math.pi / _SIDE * frequency * place).float()


_BIT_COUNTS = np.array([value.bit_count() for value in range(_PIECE_VALUES)], np.int64)


def _pieces(values: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N 4"]:
    shifts = 16 * np.arange(_NUM_PIECES)
    return (values[:, None] >> shifts) & (_PIECE_VALUES - 1)


def _equal(
    train: Int[np.ndarray, " A"],
    train_places: Int[np.ndarray, " K"],
    test: Int[np.ndarray, " B"],
    test_places: Int[np.ndarray, " L"],
) -> Iterator[tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]]:
    """All (training, test) places with the same piece, some at a time."""
    order = train_places[np.argsort(train[train_places], kind="stable")]
    first = np.searchsorted(train[order], test[test_places], "left")
    last = np.searchsorted(train[order], test[test_places], "right")
    ends = np.cumsum(last - first)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _CANDIDATES_AT_ONCE):
        numbers = np.arange(start, min(start + _CANDIDATES_AT_ONCE, total))
        pair = np.searchsorted(ends, numbers, "right")
        yield order[last[pair] - (ends[pair] - numbers)], test_places[pair]


def _is_flat(pictures: Fingerprints) -> Bool[np.ndarray, " N"]:
    blocks = np.array_split(pictures.thumbnails, max(1, len(pictures) // 4096))
    return np.concatenate([block.std(1) < _FLATTEST for block in blocks])


def _look_alike(
    first: UInt8[np.ndarray, "M P"], second: UInt8[np.ndarray, "M P"]
) -> Bool[np.ndarray, " M"]:
    """Whether the largest difference is small against what the pictures show."""
    standard = []
    for thumbnails in (first, second):
        values = thumbnails.astype(np.float32)
        centred = values - values.mean(1, keepdims=True)
        standard.append(centred / np.maximum(centred.std(1, keepdims=True), 1e-6))
    return np.abs(standard[0] - standard[1]).max(1, initial=0) < _LARGEST_RESIDUAL
