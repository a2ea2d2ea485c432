"""Opened pictures: sizes before decoding, crops at the scale that they need, arrays in place."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError

from jepakit.data.sources.decoding import Decoding
from jepakit.data.sources.picture_files import open_picture, read_values
from jepakit.data.sources.source import BrokenPicture, Stored
from jepakit.data.views import crop_and_resize


def _photograph(height=400, width=600):
    """Soft shapes of several sizes, without symmetry."""
    rows, columns = np.mgrid[0:height, 0:width] / 50
    channels = [np.sin(rows + columns), np.cos(rows * 0.7) * np.sin(columns), np.cos(columns + 1)]
    return np.rint(np.stack(channels, -1) * 120 + 128).astype(np.uint8)


def _jpeg(array, orientation=1, quality=95, **options):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(array)
    image.save(file, "JPEG", quality=quality, exif=exif, **options)
    return Stored(file.getvalue(), ".jpg")


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return Stored(file.getvalue(), ".npy")


def _resized(pixels, size):
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_pixels(orientation):
    opened = open_picture(_jpeg(_photograph(), orientation), "a.jpg", Decoding())
    assert opened.size == ((400, 600) if orientation <= 4 else (600, 400))
    assert opened.pixels().shape == (*opened.size, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("size", "scale"), [((60, 105), 4), ((100, 60), 4), ((40, 40), 8)])
def test_large_crops_are_decoded_smaller_and_look_the_same(orientation, size, scale):
    opened = open_picture(_jpeg(_photograph(800, 900), orientation), "a.jpg", Decoding())
    box = (37, 101, 420, 431)
    small = opened.crop(box, size)
    assert small.shape == (round(420 / scale), round(431 / scale), 3)
    expected = _resized(opened.pixels()[37 : 37 + 420, 101 : 101 + 431], size)
    found = crop_and_resize(opened, box, size)
    # The box lies on the pixels of the smaller picture: it moves by half of one at most.
    assert (found.float() - expected.float()).abs().mean() < scale
    assert (found.float() - expected.float().flip(-1)).abs().mean() > 20


@pytest.mark.parametrize("size", [(106, 100), (100, 108), (420, 431), (500, 500)])
def test_crops_are_never_decoded_below_the_size_they_get(size):
    opened = open_picture(_jpeg(_photograph(800, 900)), "a.jpg", Decoding())
    pixels = opened.pixels()[37 : 37 + 420, 101 : 101 + 431]
    np.testing.assert_array_equal(opened.crop((37, 101, 420, 431), size), pixels)


def test_grey_crops_keep_one_channel():
    opened = open_picture(_jpeg(_photograph()), "a.jpg", Decoding(channels=1))
    assert opened.crop((0, 0, 400, 400), (50, 50)).shape == (50, 50, 1)


def test_a_cut_off_file_is_told_when_its_pixels_are_asked_for():
    stored = _jpeg(_photograph())
    opened = open_picture(Stored(stored.content[:3000], ".jpg"), "torn.jpg", Decoding())
    with pytest.raises(BrokenPicture, match="torn"):
        opened.pixels()
    with pytest.raises(BrokenPicture, match="torn"):
        opened.crop((0, 0, 400, 400), (50, 50))


def test_a_header_that_claims_too_much_is_refused_before_decoding():
    content = bytearray(_jpeg(_photograph(16, 16)).content)
    place = content.index(b"\xff\xc0") + 5  # height and width in the start of the frame
    content[place : place + 4] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(BrokenPicture, match=r"huge.jpg: .*bomb"):
        open_picture(Stored(bytes(content), ".jpg"), "huge.jpg", Decoding())


def test_arrays_are_read_where_they_lie():
    array = np.random.default_rng(0).integers(0, 256, (20, 30, 5), dtype=np.uint8)
    stored = _npy(array)
    pixels = open_picture(stored, "a.npy", Decoding(channels=5)).pixels()
    np.testing.assert_array_equal(pixels, array)
    assert np.shares_memory(pixels, np.frombuffer(stored.content, np.uint8))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_of_either_order(order, dtype):
    array = np.asarray(np.arange(24, dtype=dtype).reshape(4, 6) * 7, order=order)
    pixels = open_picture(_npy(array), "a.npy", Decoding(channels=1)).pixels()
    expected = array if dtype == np.uint8 else np.rint(array.astype(float) / 257)
    np.testing.assert_array_equal(pixels[:, :, 0], expected)


@pytest.mark.parametrize(("channels", "shape"), [(12, (12, 20, 30)), (3, (3, 20, 30))])
def test_channels_may_come_first(channels, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    opened = open_picture(_npy(array), "a.npy", Decoding(channels=channels))
    assert opened.size == (20, 30)
    np.testing.assert_array_equal(opened.pixels(), array.transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_values_say_what_becomes_black_and_white(dtype):
    array = np.array([[-5, 0, 1000], [500, 2000, 250]]).astype(dtype)
    how = Decoding(channels=1, values=(0, 1000))
    pixels = open_picture(_npy(array), "a.npy", how).pixels()
    first = 255 if dtype == np.uint16 else 0  # -5 is a large number without a sign
    np.testing.assert_array_equal(pixels[:, :, 0], [[first, 0, 255], [128, 255, 64]])


def test_values_hold_for_tiff_stacks_too():
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    bands = np.arange(12 * 8 * 9, dtype=np.uint16).reshape(12, 8, 9)
    tifffile.imwrite(file, bands)
    how = Decoding(channels=12, values=(0, 12 * 8 * 9 - 1))
    pixels = open_picture(Stored(file.getvalue(), ".tif"), "a.tif", how).pixels()
    expected = np.rint(bands.transpose(1, 2, 0) * (255 / (12 * 8 * 9 - 1)))
    np.testing.assert_allclose(pixels, expected, atol=1)
    assert pixels.min() == 0
    assert pixels.max() == 255


def _png_of_16_bits(array, orientation=1):
    """Written by hand: PIL writes grey ones only."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
            chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )
    return Stored(content, ".png")


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_values_hold_for_png_too(channels, orientation):
    array = np.random.default_rng(0).integers(0, 4096, (6, 9, channels)).astype(np.uint16)
    if channels in (2, 4):
        array[:, :, -1] = 65535  # opaque
    stored = _png_of_16_bits(array, orientation)
    how = Decoding(channels=1 if channels < 3 else 3, values=(96, 4000))
    upright = np.rot90(array, -1) if orientation == 6 else array
    colours = upright[:, :, : how.channels]
    expected = np.rint(np.clip((colours.astype(np.float32) - 96) * (255 / 3904), 0, 255))
    opened = open_picture(stored, "a.png", how)
    assert opened.size == upright.shape[:2]
    np.testing.assert_array_equal(opened.pixels(), expected)
    np.testing.assert_array_equal(read_values(stored, "a.png", Decoding()), colours)
    whole = open_picture(stored, "a.png", Decoding(channels=how.channels)).pixels()
    np.testing.assert_allclose(whole, colours / 257, atol=1)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp"])
def test_usual_pictures_have_no_values(kind):
    file = io.BytesIO()
    Image.fromarray(_photograph(30, 40)).save(file, kind)
    stored = Stored(file.getvalue(), f".{kind}")
    assert read_values(stored, "a", Decoding()) is None
    whole = open_picture(stored, "a", Decoding()).pixels()
    scaled = open_picture(stored, "a", Decoding(values=(0, 4000))).pixels()
    np.testing.assert_array_equal(scaled, whole)


def test_arrays_that_claim_more_than_they_hold_are_broken():
    stored = _npy(np.zeros((20, 30), np.uint8))
    with pytest.raises(BrokenPicture, match="buffer"):
        open_picture(Stored(stored.content[:-9], ".npy"), "a.npy", Decoding(channels=1))


def test_values_are_a_range():
    with pytest.raises(ValidationError, match="low < high"):
        Decoding(values=(3, 3))


@pytest.mark.parametrize(("width", "height"), [(1, 9), (300, 17), (64, 64)])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"\xff\xc0" * 9}])
def test_sizes_of_jpegs_are_those_that_pil_tells(width, height, mode, options):
    file = io.BytesIO()
    Image.new(mode, (width, height), 7).save(file, "JPEG", **options)
    opened = open_picture(Stored(file.getvalue(), ".jpg"), "a.jpg", Decoding())
    assert opened.size == (height, width)
    assert opened.pixels().shape == (height, width, 3)


@pytest.mark.parametrize("length", range(0, 40, 3))
def test_heads_of_files_are_no_pictures(length):
    content = _jpeg(_photograph(16, 16)).content[:length]
    with pytest.raises(BrokenPicture):
        open_picture(Stored(content, ".jpg"), "a.jpg", Decoding()).pixels()
