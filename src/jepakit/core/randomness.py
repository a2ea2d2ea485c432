"""Randomness as a function of (seed, name, step, position), so that nothing has to be replayed.

A sample's random numbers depend on its *global* position in the step's batch and on nothing else:
not on the process, the loader worker, or on what was drawn before. Resuming at a step, or running
on another number of processes, therefore gives the same numbers.
"""

import zlib
from dataclasses import dataclass

import numpy as np

# Philox makes four 64-bit numbers per counter value; each row gets whole counter values.
_NUMBERS_PER_COUNTER = 4


def generator(seed: int, name: str, *keys: int) -> np.random.Generator:
    """An independent generator for the named purpose, e.g. `generator(seed, "order", epoch)`."""
    return np.random.Generator(_philox(seed, name, *keys))


def _philox(seed: int, name: str, *keys: int) -> np.random.Philox:
    return np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(name.encode()), *keys]))


@dataclass(frozen=True)
class BatchRandom:
    """The random numbers of a slice of one step's global batch.

    `first` is the global position of the slice's first sample.
    """

    seed: int
    step: int
    first: int = 0

    def shared(self, name: str) -> np.random.Generator:
        """A generator that is the same for every slice of this step (and on every process)."""
        return generator(self.seed, name, self.step)

    def uniforms(self, name: str, num_rows: int, width: int) -> np.ndarray:
        """Uniform numbers in [0, 1), float64, one row of `width` per sample of this slice.

        Row i is the same whichever slice contains global position `first + i`.
        """
        counters_per_row = -(-width // _NUMBERS_PER_COUNTER)
        bits = _philox(self.seed, name, self.step)
        bits.advance(self.first * counters_per_row)
        padded = np.random.Generator(bits).random(
            (num_rows, counters_per_row * _NUMBERS_PER_COUNTER)
        )
        return padded[:, :width]

    def sample(self, name: str, position: int) -> np.random.Generator:
        """A generator for the sample at `position` within this slice."""
        return generator(self.seed, name, self.step, self.first + position)
