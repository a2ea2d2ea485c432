"""Every kind of picture file is read upright, in 8 bits and in the wanted channels; others not."""

import json
import logging
import os
import pickle
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from jepakit.data.sources.image_folder import ImageFolder, find_splits
from jepakit.data.sources.source import BrokenPicture


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def _folder(path, **settings):
    return ImageFolder(ImageFolder.Settings(path=path, **settings))


def _read(path, channels=3, **settings):
    return _folder(path.parent, channels=channels, **settings).sample(0).picture


def _gradient(height=24, width=32):
    """Smooth, so that lossy formats keep it; no symmetry, so that turning it shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [rows * 255 // height, columns * 255 // width, (rows + columns) * 2]
    return np.stack(channels, -1).astype(np.uint8)


def _grey():
    return _gradient()[:, :, 1]


def _save(path, array_or_image, **options):
    image = array_or_image
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


def _old(folder):
    """Make a folder look settled, so that its index may be kept."""
    for place, _, _ in os.walk(folder):
        os.utime(place, (1_000_000_000, 1_000_000_000))


@pytest.mark.parametrize(
    ("ending", "tolerance"),
    [
        *(("png", 0), ("bmp", 0), ("tif", 0), ("TIFF", 0), ("ppm", 0)),
        *(("jpg", 12), ("JPEG", 12), ("webp", 12)),
    ],
)
def test_rgb_files(tmp_path, ending, tolerance):
    quality = {"quality": 95} if tolerance else {}
    picture = _read(_save(tmp_path / f"a.{ending}", _gradient(), **quality))
    assert picture.shape == (24, 32, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - _gradient()).max() <= tolerance


@pytest.mark.parametrize("ending", ["png", "tif", "pgm", "jpg", "webp", "gif", "bmp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_files(tmp_path, ending, channels):
    picture = _read(_save(tmp_path / f"a.{ending}", _grey()), channels)
    assert picture.shape == (24, 32, channels)
    grey = picture[:, :, : min(channels, 3)].astype(int)
    assert np.abs(grey - _grey()[:, :, None]).max() <= 6
    if channels == 4:
        assert (picture[:, :, 3] == 255).all()


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_one_channel_is_luminance(tmp_path, ending):
    colours = np.zeros((16, 48, 3), np.uint8)
    for place in range(3):
        colours[:, place * 16 : place * 16 + 16, place] = 255
    picture = _read(_save(tmp_path / f"a.{ending}", colours), channels=1)[:, :, 0].astype(int)
    assert np.abs(picture[8, [8, 24, 40]] - [76, 150, 29]).max() <= 3


def test_palette(tmp_path):
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:4] = (200, 30, 10)
    image = Image.fromarray(colours).quantize(4)
    assert image.mode == "P"
    np.testing.assert_array_equal(_read(_save(tmp_path / "a.png", image)), colours)


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_palette_lies_over_white(tmp_path, transparency):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.paste(0, (0, 0, 8, 4))
    picture = _read(_save(tmp_path / "a.png", image, transparency=transparency))
    assert (picture[:4] == 255).all()
    assert (picture[4:] == (10, 20, 30)).all()


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_rgba(tmp_path, ending):
    rgba = np.full((8, 8, 4), (100, 50, 0, 255), np.uint8)
    rgba[:4, :, 3] = 0
    rgba[4:6, :, 3] = 128
    path = _save(tmp_path / f"a.{ending}", rgba, **({"lossless": True} if ending == "webp" else {}))
    over_white = _read(path)
    assert (over_white[:4] == 255).all()
    assert np.abs(over_white[4:6].astype(int) - (177, 152, 127)).max() <= 2
    assert (over_white[6:] == (100, 50, 0)).all()
    np.testing.assert_array_equal(_read(path, channels=4)[:, :, 3], rgba[:, :, 3])


def test_grey_with_alpha(tmp_path):
    image = Image.merge("LA", [Image.new("L", (8, 8), 60), Image.new("L", (8, 8), 0)])
    assert (_read(_save(tmp_path / "a.png", image), channels=1) == 255).all()


def test_cmyk(tmp_path):
    image = Image.fromarray(_gradient()).convert("CMYK")
    for channels in (1, 3, 4):
        picture = _read(_save(tmp_path / "a.jpg", image, quality=95), channels)
        if channels == 3:
            assert np.abs(picture.astype(int) - _gradient()).max() <= 16


def test_one_bit(tmp_path):
    bits = _grey() > 127
    picture = _read(_save(tmp_path / "a.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(picture[:, :, 0], bits * np.uint8(255))


@pytest.mark.parametrize("ending", ["png", "tif", "npy", "pgm"])
def test_16_bits_are_scaled_not_clipped(tmp_path, ending):
    values = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, values)
    else:
        _save(path, values)
    picture = _read(path)
    np.testing.assert_allclose(picture[:, :, 0], values / 257, atol=0.51)
    assert (picture.min(), picture.max()) == (0, 255)


def test_values_without_range_are_broken(tmp_path):
    _save(tmp_path / "a.tif", np.full((8, 8), 70_000, np.int32))
    _save(tmp_path / "b.tif", np.zeros((8, 8), np.float32))
    np.save(tmp_path / "c.npy", np.zeros((8, 8), np.float32))
    np.save(tmp_path / "d.npy", np.zeros(8, np.uint8))
    source = _folder(tmp_path)
    for index, reason in enumerate(["fixed range", "fixed range", "fixed range", "H W C"]):
        with pytest.raises(BrokenPicture, match=reason):
            source.sample(index)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_orientation(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(_gradient())
    path = _save(tmp_path / f"a.{ending}", image, exif=exif)
    expected = image.copy()
    expected.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(expected)).astype(int)
    picture = _read(path)
    assert picture.shape == expected.shape
    assert picture.shape[0] == (24 if orientation <= 4 else 32)
    assert np.abs(picture - expected).mean() < 4


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert (_read(path) == (255, 0, 0)).all()


def test_content_counts_not_the_ending(tmp_path):
    path = _save(tmp_path / "a.jpg", _gradient(), format="png")
    np.testing.assert_array_equal(_read(path), _gradient())


def test_arrays_of_any_number_of_channels(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (12, 10, 7), dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(_read(tmp_path / "a.npy", channels=7), array)
    with pytest.raises(BrokenPicture, match="7 channels where channels=3"):
        _read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", array[:, :, 0])
    assert _read(tmp_path / "a.npy", channels=3).shape == (12, 10, 3)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_multichannel_tiff(tmp_path, planar):
    array = np.random.default_rng(0).integers(0, 256, (32, 48, 5), dtype=np.uint8)
    stored = array if planar == "contig" else array.transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar, metadata=None
    )
    np.testing.assert_array_equal(_read(tmp_path / "a.tif", channels=5), array)
    with pytest.raises(BrokenPicture):
        _read(tmp_path / "a.tif", channels=3)
    with pytest.raises(BrokenPicture, match="max_pixels"):
        _read(tmp_path / "a.tif", channels=5, max_pixels=1000)


def test_missing_tifffile_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    _save(tmp_path / "a.tif", _gradient())
    assert _read(tmp_path / "a.tif").shape == (24, 32, 3)
    with pytest.raises(BrokenPicture, match="pip install tifffile"):
        _read(tmp_path / "a.tif", channels=6)


def test_files_other_than_arrays_do_not_have_five_channels(tmp_path):
    with pytest.raises(BrokenPicture, match="channels=5 needs"):
        _read(_save(tmp_path / "a.png", _gradient()), channels=5)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "npy"])
@pytest.mark.parametrize("limit", [24 * 32 - 1, 300])
def test_bombs_are_refused(tmp_path, ending, limit):
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, _gradient())
    else:
        _save(path, _gradient())
    assert _read(path, max_pixels=24 * 32).shape == (24, 32, 3)
    with pytest.raises(BrokenPicture, match="bomb"):
        _read(path, max_pixels=limit)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp", "npy"])
def test_damaged_files(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if ending == "npy":
        np.save(path, noise)
    else:
        _save(path, noise)
    whole = path.read_bytes()
    for damaged in (b"", b"no picture", whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(BrokenPicture) as caught:
            _read(path)
        assert caught.value.name == f"a.{ending}"
        assert caught.value.reason
        assert "\n" not in caught.value.reason


def test_names_labels_and_hidden_files(tmp_path):
    names = ["10/x.png", "9/deep/y.png", "9/ü b.png", "9/a'\n.png", "loose.png"]
    hidden = [".hidden.png", ".git/z.png", "9/._y.png"]
    for name in [*names, *hidden]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        _save(tmp_path / name, _grey()[:8, :8])
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    source = _folder(tmp_path)
    assert [source.name(index) for index in range(len(source))] == sorted(names)
    assert source.classes == ("9", "10")
    labels = {source.name(index): source.label(index) for index in range(len(source))}
    expected = {"10/x.png": 1, "9/deep/y.png": 0, "9/ü b.png": 0, "9/a'\n.png": 0, "loose.png": -1}
    assert labels == expected
    assert source.sample(2).name == source.name(2)


def test_names_that_are_not_unicode(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff.png")
    with open(path, "wb") as file:
        Image.fromarray(_grey()).save(file, format="png")
    _old(tmp_path)
    for _ in range(2):  # the second time from the cache
        assert _folder(tmp_path).sample(0).picture.shape == (24, 32, 3)


def test_flat_and_one_subfolder_are_unlabelled(tmp_path):
    (tmp_path / "only").mkdir()
    _save(tmp_path / "only" / "a.png", _grey())
    source = _folder(tmp_path)
    assert source.classes == ()
    assert source.label(0) == source.sample(0).label == -1


def test_an_empty_folder_beside_classes_is_said_to_be_none(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in ("cat", "dog", "bird"):
        (tmp_path / name).mkdir()
        if name != "bird":
            _save(tmp_path / name / "a.png", _grey()[:8, :8])
    assert _folder(tmp_path).classes == ("cat", "dog")
    assert "no pictures in bird, which is therefore no class" in caplog.text


def test_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "outside").mkdir()
    _save(tmp_path / "a" / "x.png", _grey())
    _save(tmp_path / "outside" / "y.png", _grey())
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = _folder(tmp_path / "a")
    assert [source.name(index) for index in range(3)] == ["gone.png", "linked/y.png", "x.png"]
    with pytest.raises(BrokenPicture):
        source.sample(0)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: folder.write_text(""), "is a file"),
        (
            lambda folder: (folder.mkdir(), (folder / "a.heic").write_text("")),
            r"no pictures, but 1 \.heic",
        ),
    ],
)
def test_a_wrong_folder_says_what_to_type(tmp_path, prepare, message):
    prepare(tmp_path / "pictures")
    with pytest.raises(ValueError, match=message) as caught:
        _folder(tmp_path / "pictures")
    assert "--data" in str(caught.value)


def test_splits(tmp_path):
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / place).mkdir(parents=True)
        _save(tmp_path / place / "x.png", _grey())
    assert find_splits(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "val"}
    assert find_splits(tmp_path / "train") == {}
    assert _folder(tmp_path).folder == tmp_path / "train"
    assert _folder(tmp_path).classes == ("a", "b")
    assert _folder(tmp_path, split="validation").folder == tmp_path / "val"
    assert _folder(tmp_path / "train", split="a").folder == tmp_path / "train" / "a"
    with pytest.raises(ValueError, match=r"data\.source\.split.*train, val"):
        _folder(tmp_path, split="test")


def test_a_class_called_train_is_not_a_split(tmp_path):
    for place in ("train", "car", "ship"):
        (tmp_path / place).mkdir()
        _save(tmp_path / place / "x.png", _grey())
    assert _folder(tmp_path).classes == ("car", "ship", "train")


def test_index_is_kept_and_notices_changes(tmp_path, monkeypatch):
    folder = tmp_path / "pictures"
    (folder / "a").mkdir(parents=True)
    _save(folder / "a" / "x.png", _grey())
    _old(folder)
    cache = tmp_path / "cache"
    first = _folder(folder, index_cache=cache)
    assert len(list(cache.glob("*.json"))) == 1

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)  # from here on the folder cannot be listed
        assert _folder(folder, index_cache=cache).fingerprint() == first.fingerprint()

    _save(folder / "a" / "y.png", _grey())
    second = _folder(folder, index_cache=cache)
    assert len(second) == 2
    assert second.fingerprint() != first.fingerprint()


def test_pictures_replaced_in_place_are_noticed(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("x", "y"):
        _save(folder / f"{name}.png", _grey())
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    _old(folder)
    cache = tmp_path / "cache"
    before = _folder(folder, index_cache=cache).fingerprint()
    assert _folder(folder, index_cache=cache).fingerprint() == before
    times = folder.stat().st_mtime_ns
    (folder / "x.png").write_bytes((folder / "x.png").read_bytes() + b"more")
    assert folder.stat().st_mtime_ns == times
    assert _folder(folder, index_cache=cache).fingerprint() != before


def test_a_folder_that_was_just_written_is_not_trusted(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    _save(folder / "x.png", _grey())
    _folder(folder, index_cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 0}'])
def test_a_damaged_index_is_built_anew(tmp_path, content, caplog):
    folder = tmp_path / "pictures"
    folder.mkdir()
    _save(folder / "x.png", _grey())
    _old(folder)
    _folder(folder, index_cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.json")
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert len(_folder(folder, index_cache=tmp_path / "cache")) == 1
    assert ("damaged" in caplog.text) == ("0" not in content)
    assert json.loads(file.read_text())["names"] == ["x.png"]


def test_an_index_that_cannot_be_kept_is_no_error(tmp_path, caplog):
    folder = tmp_path / "pictures"
    folder.mkdir()
    _save(folder / "x.png", _grey())
    _old(folder)
    (tmp_path / "file").write_text("")
    assert len(_folder(folder, index_cache=tmp_path / "file" / "cache")) == 1
    assert "not kept" in caplog.text


def test_pickled_source_reads_the_same(tmp_path):
    _save(tmp_path / "a.png", _gradient())
    source = _folder(tmp_path)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.sample(0).picture, source.sample(0).picture)
