"""The processes of a run take their batches together: all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jepakit.core.distributed import any_of_all, gather_objects, who
from jepakit.core.errors import RunFailed
from jepakit.core.tensors import Batch
from jepakit.data.broken_pictures import BrokenPictures

FAILURES = (ValueError, OSError, RuntimeError)


def in_step(
    batches: Iterator[Sequence[Batch]], broken: BrokenPictures, waiting: Callable[[], None]
) -> Iterator[Sequence[Batch]]:
    """The batches of this process, each as soon as all processes have theirs.

    If one of them cannot load its pictures, it raises what happened, and the others `RunFailed`
    with its words: so all can save together what they learned. Pictures that cannot be read are
    counted over all processes. `waiting` is called before the others are waited for.
    """
    while True:
        micro_batches: Sequence[Batch] | None = None
        failure: Exception | None = None
        try:
            micro_batches = next(batches, None)
        except FAILURES as error:
            failure = error
        waiting()
        # One message when all is well: nearly always.
        if any_of_all(failure is not None or broken.has_news):
            said = gather_objects((failure and f"{who()}: {failure}", broken.news()))
            if failure is not None:
                raise failure
            words = [told for told, _ in said if told]
            if words:
                raise RunFailed(f"pictures could not be loaded by {words[0]}")
            broken.hear(news for _, news in said)
        if micro_batches is None:
            return
        yield micro_batches
