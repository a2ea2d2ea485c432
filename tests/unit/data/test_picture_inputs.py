"""Whatever people call a picture becomes the same view, or one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from jepakit.data.picture_inputs import views_of
from jepakit.data.sources.source import Picture

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)


def whole(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.pixels().copy()).permute(2, 0, 1)


def views(given: Any, num_channels: int = 3) -> list[Tensor]:
    return list(views_of(given, num_channels, whole))


def forms(path: Path) -> dict[str, Any]:
    Image.fromarray(PIXELS).save(path)
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    return {
        "path": path,
        "text": str(path),
        "image": Image.fromarray(PIXELS),
        "array": PIXELS,
        "float array": PIXELS / 255,
        "half array": (PIXELS / 255).astype(np.float32),
        "16 bits": PIXELS.astype(np.uint16) * 257,
        "tensor": tensor,
        "float tensor": tensor.float() / 255,
        "transparent": Image.fromarray(PIXELS).convert("RGBA"),
        "batch": PIXELS[None],
        "tensor batch": tensor[None],
        "batch, channels first": PIXELS[None].transpose(0, 3, 1, 2),
        "tensor batch, channels last": torch.from_numpy(PIXELS)[None],
    }


def test_every_form_of_a_picture_is_the_same_view(tmp_path: Path) -> None:
    expected = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for name, form in forms(tmp_path / "a.png").items():
        (found,) = views(form)
        assert torch.equal(found, expected), name


def test_mixtures_generators_and_batches_keep_their_order(tmp_path: Path) -> None:
    all_forms = list(forms(tmp_path / "a.png").values())
    dark = np.zeros((2, 10, 12, 3), np.uint8)

    def endless() -> Iterator[Any]:
        yield from all_forms
        yield dark
        yield [PIXELS, [PIXELS]]
        raise AssertionError("read further than asked")

    asked = len(all_forms) + 4
    stream = views_of(endless(), 3, whole)
    means = [float(next(stream).float().mean()) for _ in range(asked)]
    assert [mean == 0 for mean in means] == [False] * len(all_forms) + [True] * 2 + [False] * 2


def test_grey_and_colour_are_converted_and_bands_must_agree() -> None:
    (grey,) = views(PIXELS[..., 0])
    assert torch.equal(grey[0], grey[2])
    (same,) = views(torch.from_numpy(PIXELS[..., :1]).permute(2, 0, 1))
    assert torch.equal(grey, same)
    (one,) = views(PIXELS, num_channels=1)
    assert torch.equal(one[0], torch.from_numpy(np.array(Image.fromarray(PIXELS).convert("L"))))
    bands = np.random.default_rng(0).integers(0, 256, (10, 12, 7), dtype=np.uint8)
    assert views(bands, num_channels=7)[0].shape == (7, 10, 12)


def test_a_grey_network_takes_batches_without_channels() -> None:
    grey = np.stack([PIXELS[..., 0], PIXELS[..., 1]])
    for form in (grey, torch.from_numpy(grey), grey[..., None], grey[:, None]):
        found = views(form, num_channels=1)
        assert [one[0].tolist() for one in found] == grey.tolist()
    (alone,) = views(grey[:1], num_channels=1)
    assert alone[0].tolist() == grey[0].tolist()
    with pytest.raises(ValueError, match=r"array\[..., None\] if these are 3 grey pictures"):
        views(np.concatenate([grey, grey[:1]]), num_channels=1)
    with pytest.raises(ValueError, match="it has 12 channels and the network takes 3"):
        views(grey)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_values_of_the_training_become_black_and_white(kind: type) -> None:
    deep = np.array([[100, 600], [1100, 5000]], kind)
    (found,) = views_of(deep, 1, whole, values=(100.0, 1100.0))
    assert found[0].tolist() == [[0, 128], [255, 255]]
    if kind is not np.float32:  # as PIL opens a file of 16 or 32 bits
        (same,) = views_of(Image.fromarray(deep), 1, whole, values=(100.0, 1100.0))
        assert torch.equal(same, found)
    (bytes_stay,) = views_of(PIXELS[..., 0], 1, whole, values=(100.0, 1100.0))
    assert bytes_stay[0].tolist() == PIXELS[..., 0].tolist()


def test_numbers_from_0_to_1_are_no_stored_values() -> None:
    shares = (PIXELS[..., 0] / 255).astype(np.float32)
    with pytest.raises(ValueError, match="its numbers lie between 0 and 1, and stored values are"):
        views_of(shares, 1, whole, values=(100.0, 1100.0)).__next__()
    (as_stored,) = views_of(shares, 1, whole, values=(0.0, 1.0))
    assert torch.equal(as_stored[0], torch.from_numpy(PIXELS[..., 0]))
    (black,) = views_of(np.zeros((4, 4), np.float32), 1, whole, values=(100.0, 1100.0))
    assert not black.any()


def test_a_turned_photograph_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.jpg", exif=exif)
    for form in (tmp_path / "turned.jpg", Image.open(tmp_path / "turned.jpg")):
        assert views(form)[0].shape == (3, 12, 10)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((10, 12, 2), np.uint8), "it has 2 channels and the network takes 3"),
        (torch.zeros(2, 10, 12), "it has 2 channels and the network takes 3"),
        (np.zeros((3, 10, 12), np.uint8), "numpy arrays are H W C, use np.moveaxis"),
        (torch.zeros(10, 12, 3), "tensors are C H W, use permute"),
        (np.zeros((2, 2, 10, 12, 3), np.uint8), "has 2 or 3 axes, and a batch 4"),
        (np.zeros(12, np.uint8), "has 2 or 3 axes, and a batch 4"),
        (np.zeros((0, 12, 3), np.uint8), "has 2 or 3 axes"),
        (PIXELS.astype(np.int64), "int64 values have no fixed range: give uint8"),
        (PIXELS > 100, "bool values have no fixed range"),
        (PIXELS.astype(np.float32), "floats must lie between 0 and 1"),
        (np.full((4, 4), np.nan), "floats must lie between 0 and 1"),
        ([PIXELS, None], "a NoneType is no picture"),
        ({"image": PIXELS}, "a dict is no picture"),
        ([7], "a int is no picture: give a PIL image, a path"),
        (["nowhere.png"], "nowhere.png cannot be used: there is no such file"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        views(given)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"cut.png cannot be used: .*truncated"):
        views(tmp_path / "cut.png")
    with (
        Image.open(tmp_path / "cut.png") as image,
        pytest.raises(ValueError, match=r"picture 1 cannot be used: .*truncated"),
    ):
        views([PIXELS, image])
    with pytest.raises(ValueError, match=r"text.png cannot be used: not a picture"):
        views(tmp_path / "text.png")
    with pytest.raises(ValueError, match="it is a folder: give its files"):
        views(tmp_path)


def test_what_is_wrong_in_a_batch_is_told_by_its_number() -> None:
    with pytest.raises(ValueError, match=r"^picture 2 cannot be used: .*no fixed range"):
        views([PIXELS, PIXELS, PIXELS.astype(np.int32)])
