"""The reference's checkpoint files: read with or without prefix, never running their code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from jepakit.models import Encoder, Predictor
from jepakit.objectives import IJepa
from jepakit.pretrained.meta import NETWORKS, networks_of, read_checkpoint


def objective(seed: int) -> IJepa:
    torch.manual_seed(seed)
    encoder = Encoder(Encoder.Settings(size="vit_tiny", depth=2, patch=8), 3, (32, 32))
    return IJepa(IJepa.Settings(), encoder, Predictor(Predictor.Settings(width=12), encoder))


# The names that the reference's files use, for a network of two blocks (one for the predictor).
BLOCK = [
    f"{layer}.{kind}"
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
]
ENCODER = {
    *("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "norm.weight", "norm.bias"),
    *(f"blocks.{place}.{name}" for place in range(2) for name in BLOCK),
}
PREDICTOR = {
    *("mask_token", "predictor_pos_embed"),
    *("predictor_embed.weight", "predictor_embed.bias"),
    *("predictor_norm.weight", "predictor_norm.bias"),
    *("predictor_proj.weight", "predictor_proj.bias"),
    *(f"predictor_blocks.{place}.{name}" for place in range(6) for name in BLOCK),
}


def test_our_networks_have_the_references_names() -> None:
    networks = networks_of(objective(0).state_dict())
    assert networks.keys() == NETWORKS.keys()
    for name, expected in (
        ("encoder", ENCODER),
        ("target_encoder", ENCODER),
        ("predictor", PREDICTOR),
    ):
        assert {key.removeprefix("module.") for key in networks[name]} == expected
        assert all(key.startswith("module.") for key in networks[name])
    assert networks["encoder"]["module.patch_embed.proj.weight"].shape == (192, 3, 8, 8)
    assert networks["encoder"]["module.pos_embed"].shape == (1, 16, 192)
    assert networks["predictor"]["module.mask_token"].shape == (1, 1, 12)


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_file_gives_back_what_was_saved(tmp_path: Path, prefix: str) -> None:
    saved, other = objective(0), objective(1)
    with torch.no_grad():
        saved.target_encoder.norm.bias.add_(1)  # or both encoders would be equal
    networks = {
        name: {prefix + key.removeprefix("module."): value for key, value in state.items()}
        for name, state in networks_of(saved.state_dict()).items()
    }
    torch.save({**networks, "opt": {"state": {}}, "epoch": 7}, tmp_path / "a.pth.tar")

    checkpoint = read_checkpoint(tmp_path / "a.pth.tar")
    other.load_state_dict(checkpoint.objective_state())

    assert checkpoint.epoch == 7
    assert checkpoint.optimizer == {"state": {}}
    for key, value in saved.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('pickled code was run')",))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no checkpoint .*nowhere"):
        read_checkpoint(tmp_path / "nowhere.pth.tar")
    path = tmp_path / "bad.pth.tar"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"bad\.pth\.tar is damaged, or no file of tensors"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"bad\.pth\.tar is damaged, or no file of tensors"):
        read_checkpoint(path)
    torch.save({"encoder": {}}, path)
    with pytest.raises(ValueError, match="lacks predictor, target_encoder"):
        read_checkpoint(path)
    whole = tmp_path / "whole.pth.tar"
    torch.save({name: {} for name in NETWORKS} | {"x": torch.zeros(1000)}, whole)
    path.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"bad\.pth\.tar is damaged, or no file of tensors"):
        read_checkpoint(path)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "malicious.pth.tar"
    torch.save({name: Malicious() for name in NETWORKS}, path)
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_checkpoint(path)
