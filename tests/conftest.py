"""What holds for all tests: one thread each, and what shares fixtures runs in one process."""

import os

# Networks this small only wait for each other on several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # here, and in the processes that tests start

import pytest
import torch

torch.set_num_threads(1)

# One SLURM, one browser at a time; elsewhere a file's tests share what the file prepares.
TOGETHER = ("tests/cluster", "tests/browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        file = item.nodeid.partition("::")[0]
        group = next((folder for folder in TOGETHER if file.startswith(folder)), file)
        item.add_marker(pytest.mark.xdist_group(group))
