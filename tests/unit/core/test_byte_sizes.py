"""Numbers of bytes as people write them."""

import pytest

from jepakit.core.byte_sizes import in_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("12", 12), ("256MB", 256_000_000), ("1GB", 10**9), ("1.5 gb", 1_500_000_000)),
        *(("4KiB", 4096), (".5kB", 500), (" 2 TB ", 2 * 10**12)),
    ],
)
def test_reading(text: str, number: int) -> None:
    assert parse_bytes(text) == number


@pytest.mark.parametrize("text", ["", "MB", "3 apples", "-1", "1e9", "1.2.3MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write a number of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (256_000_000, "256 MB")),
        *((99_900, "99.9 kB"), (999_600, "1.0 MB"), (58.3e6, "58.3 MB"), (5e15, "5000 TB")),
    ],
)
def test_writing(number: int | float, text: str) -> None:
    assert in_bytes(number) == text
