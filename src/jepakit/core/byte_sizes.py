"""Numbers of bytes as people write and read them: `256MB`, `1.5 GB`."""

import re

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_bytes(text: str) -> int:
    """`256MB` -> 256,000,000. Raises `ValueError`."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"{text!r} is not a size: write a number of bytes, e.g. 256MB or 1GB")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def in_bytes(number: int | float) -> str:
    """256,000,000 -> `256 MB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while abs(number) >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    digits = 0 if units[0] == "B" or number >= 99.95 else 1
    return f"{number:.{digits}f} {units[0]}"
