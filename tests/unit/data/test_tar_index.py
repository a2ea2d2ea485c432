"""The pictures of a tar are found from its headers; what is unsafe or damaged is told by name."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest

from jepakit.data.sources.pack_description import PackDescription, PackedShard
from jepakit.data.sources.tar_index import TarIndex
from jepakit.data.sources.tar_scan import scan_tar


def _write(file, members, **options):
    """A tar of (name, content) pairs and `TarInfo`s."""
    with tarfile.open(file, "w", **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, content = member
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file


def _pictures(*names):
    return [(name, f"content of {name}".encode()) for name in names]


def _special(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def _contents(file, index):
    data = file.read_bytes()
    places = zip(index.offsets, index.sizes, strict=True)
    return [data[offset : offset + size] for offset, size in places]


def test_a_folder_is_sorted_and_found_where_it_lies(tmp_path):
    members = _pictures("./b/2.JPEG", "b//1.png", "a/x.tar.jpg", "top.npy")
    others = [("notes.txt", b"."), (".hidden.jpg", b"."), ("b/._1.png", b".")]
    folders = [_special("a", tarfile.DIRTYPE), _special("./b", tarfile.DIRTYPE)]
    file = _write(tmp_path / "a.tar", [*folders, *members, *others])
    index = scan_tar(file)
    assert index.names == ["a/x.tar.jpg", "b/1.png", "b/2.JPEG", "top.npy"]
    assert index.suffixes == [".jpg", ".png", ".jpeg", ".npy"]
    assert _contents(file, index)[1:3] == [b"content of b//1.png", b"content of ./b/2.JPEG"]
    assert (index.labels == -1).all()
    assert (index.num_ignored, index.tar_bytes) == (3, file.stat().st_size)


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_and_foreign_letters(tmp_path, style):
    longest = 90 if style == tarfile.USTAR_FORMAT else 300
    names = sorted([f"{'f' * 90}/{'x' * longest}.jpg", "Größe/写真.png", "short/a.jpg"])
    file = _write(tmp_path / "a.tar", _pictures(*names), format=style, encoding="utf-8")
    index = scan_tar(file)
    assert index.names == names
    assert _contents(file, index) == [content for _, content in _pictures(*names)]


def test_descriptions_give_labels_and_keep_the_order(tmp_path):
    members = [
        *[("2.jpg", b"."), ("2.cls", b"7\n"), ("2.txt", b"a dog")],
        *[("1.json", b'{"label": 3, "caption": "x"}'), ("1.big.png", b".")],
        *[("0.jpg", b"."), ("alone.json", b"{")],
    ]
    index = scan_tar(_write(tmp_path / "a.tar", members))
    assert index.names == ["2.jpg", "1.big.png", "0.jpg"]
    assert index.labels.tolist() == [7, 3, -1]
    assert index.classes == ()
    assert index.num_ignored == 2


def test_labels_that_are_texts_become_classes(tmp_path):
    members = [("1.jpg", b"."), ("1.cls", b"dog"), ("2.jpg", b"."), ("2.json", b'{"cls": "cat"}')]
    members += [("3.jpg", b"."), ("3.cls", b"dog"), ("4.jpg", b".")]
    index = scan_tar(_write(tmp_path / "a.tar", members))
    assert index.classes == ("cat", "dog")
    assert index.labels.tolist() == [1, 0, 1, -1]


def test_answers_come_from_json(tmp_path):
    members = []
    for number in range(3):
        answers = {"count": number, "depth": number / 2}
        members += [(f"{number}.jpg", b"."), (f"{number}.json", json.dumps(answers).encode())]
    file = _write(tmp_path / "a.tar", members)
    index = scan_tar(file, answers=("count", "depth"))
    assert index.answers["count"].tolist() == [0, 1, 2]
    assert index.answers["depth"].tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match=r"0\.json has no number 'size'"):
        scan_tar(file, answers=("size",))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("/etc/a.jpg", b"."), "/etc/a.jpg leads out of the tar"),
        (("a/../../b.jpg", b"."), "leads out of the tar"),
        (_special("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), r"a\.jpg is a link to /etc/passwd"),
        (_special("a.jpg", tarfile.LNKTYPE, "b.jpg"), r"a\.jpg is a link to b\.jpg"),
        (_special("tty.jpg", tarfile.CHRTYPE), r"tty\.jpg is no plain file"),
        (_special("pipe", tarfile.FIFOTYPE), "pipe is no plain file"),
        (("x/fine.jpg", b"."), r"two members named x/fine\.jpg"),
        (("x/fine.cls", b"99999999"), "are no classes"),
        (("x/fine.json", b"{"), r"x/fine\.json is not JSON"),
    ],
)
def test_what_is_refused(tmp_path, member, message):
    file = _write(tmp_path / "a.tar", [*_pictures("x/fine.jpg"), member])
    with pytest.raises(ValueError, match=message) as error:
        scan_tar(file)
    assert str(error.value).startswith(str(file))


def _with_size(header_size):
    """A tar whose second header claims another size, with a valid checksum."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("a.jpg", "b.jpg"):
            tar.addfile(tarfile.TarInfo(name))
    data = bytearray(content.getvalue())
    data[512 + 124 : 512 + 136] = tarfile.itn(header_size, 12, tarfile.GNU_FORMAT)
    data[512 + 148 : 512 + 156] = b" " * 8
    data[512 + 148 : 512 + 156] = b"%06o\0 " % sum(data[512:1024])
    return bytes(data)


@pytest.mark.parametrize(
    ("size", "message"),
    [(-512, "damaged|claims -512"), (-(1 << 40), "damaged|claims"), (1 << 60, "cut off after 1")],
)
def test_impossible_sizes(tmp_path, size, message):
    (tmp_path / "a.tar").write_bytes(_with_size(size))
    with pytest.raises(ValueError, match=message):
        scan_tar(tmp_path / "a.tar")


def test_a_huge_extended_header_is_not_read(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        scan_tar(tmp_path / "a.tar")


def test_a_cut_tar(tmp_path):
    file = _write(tmp_path / "a.tar", [(f"{n}.jpg", bytes(2000)) for n in range(4)])
    whole = file.read_bytes()
    places = {600: 0, 2511: 0, 2512: 1, 2560: 1, 2600: 1, 6000: 2, 4 * 2560: 4, 4 * 2560 + 200: 4}
    for length, num_whole in places.items():
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"a\.tar is cut off after {num_whole} whole"):
            scan_tar(file)
        index = scan_tar(file, allow_cut=True)
        assert index.names == [f"{n}.jpg" for n in range(num_whole)]


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_wherever_a_tar_is_cut_it_is_told(tmp_path, style):
    names = [f"{n}-{'x' * 120}.jpg" for n in range(3)]
    file = _write(tmp_path / "a.tar", _pictures(*names), format=style)
    whole = file.read_bytes()
    ends = (scan_tar(file).offsets + scan_tar(file).sizes).tolist()
    for length in range(1, whole.rindex(b"content") + 512, 97):
        file.write_bytes(whole[:length])
        num_whole = sum(end <= length for end in ends)
        with pytest.raises(ValueError, match=f"cut off after {num_whole} whole"):
            scan_tar(file)


def test_a_picture_whose_label_was_cut_off_is_left_out(tmp_path):
    members = [("1.jpg", b"."), ("1.cls", b"1"), ("2.jpg", b"."), ("2.cls", b"2")]
    file = _write(tmp_path / "a.tar", members)
    file.write_bytes(file.read_bytes()[: 3 * 1024 + 100])
    index = scan_tar(file, allow_cut=True)
    assert (index.names, index.labels.tolist()) == (["1.jpg"], [1])


def test_damage_in_the_middle_is_not_the_end(tmp_path):
    file = _write(tmp_path / "a.tar", _pictures("1.jpg", "2.jpg", "3.jpg"))
    data = bytearray(file.read_bytes())
    data[1024 + 20] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged at byte 1024"):
        scan_tar(file)


def test_files_that_are_no_tar(tmp_path):
    file = _write(tmp_path / "plain.tar", _pictures("1.jpg"))
    (tmp_path / "a.tar").write_bytes(gzip.compress(file.read_bytes()))
    with pytest.raises(ValueError, match=r"compressed \(gzip\).*jepa pack"):
        scan_tar(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        scan_tar(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(b"neither a tar nor anything else " * 100)
    with pytest.raises(ValueError, match="damaged"):
        scan_tar(tmp_path / "a.tar")


def test_a_tar_without_members_has_no_pictures(tmp_path):
    index = scan_tar(_write(tmp_path / "a.tar", []))
    assert len(index) == 0
    index.save(tmp_path / "a.npz")
    assert len(TarIndex.load(tmp_path / "a.npz")) == 0


def test_progress_is_told_in_bytes(tmp_path):
    file = _write(tmp_path / "a.tar", [(f"{n}.jpg", b".") for n in range(2500)])
    told = []
    scan_tar(file, lambda done, total: told.append((done, total)))
    size = file.stat().st_size
    assert told == [(0, size), (1000 * 1024, size), (2000 * 1024, size)]


def _index():
    return TarIndex(
        names=["a/1.jpg", "写真.npy", "\udcff.jpg"],
        suffixes=[".jpg", ".npy", ".jpg"],
        offsets=np.array([512, 1536, 2560]),
        sizes=np.array([3, 4, 5]),
        labels=np.array([0, 1, -1]),
        answers={"a/count": np.array([1, 2, 3]), "depth": np.array([0.5, 1.5, 2.5])},
        classes=("cat", "dog"),
        num_ignored=7,
        tar_bytes=10240,
    )


def test_an_index_is_kept_whole(tmp_path):
    _index().save(tmp_path / "new" / "a.npz")
    loaded, before = vars(TarIndex.load(tmp_path / "new" / "a.npz")), vars(_index())
    assert loaded.keys() == before.keys()
    for name, value in before.items():
        if name == "answers":
            assert {k: v.tolist() for k, v in loaded[name].items()} == {
                k: v.tolist() for k, v in value.items()
            }
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(loaded[name], value)
        else:
            assert loaded[name] == value
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.npz"]


def test_a_damaged_index_is_an_error(tmp_path):
    file = tmp_path / "a.npz"
    _index().save(file)
    whole = file.read_bytes()
    for content in (whole[:200], b"", b"PK\x03\x04", whole[:300] + bytes(50) + whole[350:]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz is damaged"):
            TarIndex.load(file)
    with pytest.raises(ValueError, match="cannot be read"):
        TarIndex.load(tmp_path / "none.npz")
    np.savez(file, head=np.array([{"evil": "pickle"}], object))
    with pytest.raises(ValueError, match="damaged"):
        TarIndex.load(file)


def test_a_description_is_kept(tmp_path):
    shards = (PackedShard("shard-000000.tar", 3, 10240, "00ff"),)
    tasks = {"count": ("0", "1")}
    description = PackDescription(
        3, ("cat", "dog"), tasks, ("depth",), 3, "f00", {"quality": 90}, shards
    )
    description.save(tmp_path)
    assert PackDescription.load(tmp_path / "index.json") == description
    content = json.loads((tmp_path / "index.json").read_text())
    for wrong in ({"version": 2}, {"num_pictures": 4}, {"more": 1}):
        (tmp_path / "index.json").write_text(json.dumps({**content, **wrong}))
        with pytest.raises(ValueError, match="does not describe a packed folder"):
            PackDescription.load(tmp_path / "index.json")
    content["shards"][0]["file"] = "../elsewhere.tar"
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="elsewhere"):
        PackDescription.load(tmp_path / "index.json")
