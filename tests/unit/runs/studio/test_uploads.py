"""Given pictures are read as files are, and told about in one sentence if they cannot be."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jepakit.runs.studio import uploads
from jepakit.runs.studio.uploads import read_upload


def given(content: bytes, name: str = "cat.png") -> dict[str, str]:
    return {"name": name, "content": base64.b64encode(content).decode()}


def saved(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(100)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def floats() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((8, 8), np.float32))
    return file.getvalue()


def test_a_picture_is_read_upright_and_in_the_wanted_channels() -> None:
    image = Image.new("RGB", (30, 20), (200, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    picture = read_upload(given(saved(image, "jpeg", exif=exif), "cat.jpg"), 3)
    assert picture.size == (30, 20)
    assert read_upload(given(saved(image)), 1).pixels().shape == (20, 30, 1)


def test_sixteen_bits_become_eight() -> None:
    values = np.full((8, 8), 65535, np.uint16)
    assert (read_upload(given(saved(Image.fromarray(values))), 3).pixels() == 255).all()


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (b"hello", "notes.txt", "notes.txt cannot be used: it is not a picture .* known: bmp, "),
        (b"", "empty.png", "empty.png is empty: choose a picture"),
        (bomb(60_000, 60_000), "bomb.png", "more than 50 million pixels; shrink it"),
        (saved(Image.new("RGB", (64, 64)))[:60], "half.png", "half.png cannot be used: "),
        (floats(), "a.npy", r"float32 values have no fixed range: store uint8 or uint16\.$"),
    ],
    ids=["text", "empty", "bomb", "half", "floats"],
)
def test_what_cannot_be_used(content: bytes, name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        read_upload(given(content, name), 3)
    assert "\n" not in str(caught.value)


def test_what_is_too_large_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(Image.fromarray(np.zeros((30, 30, 3), np.uint8)))
    monkeypatch.setattr(uploads, "LARGEST_FILE", len(content))
    assert read_upload(given(content), 3).size == (30, 30)
    monkeypatch.setattr(uploads, "LARGEST_FILE", len(content) - 10)
    monkeypatch.setattr(base64, "b64decode", lambda *a, **k: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="is too large: the studio takes files up to"):
        read_upload(given(content), 3)


@pytest.mark.parametrize("content", ["no base64!", None, 7, ["a"]])
def test_what_did_not_arrive_as_it_was_sent(content: object) -> None:
    with pytest.raises(ValueError, match=r"cat.png (did not arrive whole|is empty)"):
        read_upload({"name": "../../cat.png", "content": content}, 3)
