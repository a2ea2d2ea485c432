"""What holds for all tests: one thread each, and what shares fixtures runs in one process."""

import os
import signal
from collections.abc import Iterator

# Networks this small only wait for each other on several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # here, and in the processes that tests start

from typing import Any

import pytest
import torch

from jepakit.core import devices

torch.set_num_threads(1)

# A shell ignores Ctrl-C for what runs in its background, and so would all that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One SLURM, one browser at a time; elsewhere a file's tests share what the file prepares.
TOGETHER = ("tests/cluster", "tests/browser")


@pytest.fixture(autouse=True, scope="session")
def _same_precision_everywhere() -> Iterator[None]:
    """`precision=auto` is fp32 in tests, also on CPUs that multiply bf16: figures are compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "cpu_multiplies_bf16", lambda: False)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `gpu` is skipped without one, also where it is not left out (`test-all`)."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files go to one process, and whole folders of `TOGETHER` (`make test`)."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    return Together(config, log)
