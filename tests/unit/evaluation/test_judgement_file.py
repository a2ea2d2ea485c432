from pathlib import Path

import torch

from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.judgement_file import load_judgement, save_judgement


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    judgement = Judgement(
        {"count/linear": torch.tensor([1.0, 0.0, 0.5])},
        {"count/linear": torch.tensor([3, 1, 2])},
        {"count/linear_l2": 0.01},
        {"sweep/a": [0.1, 0.2]},
        {"count/linear": torch.tensor([0.9, 0.4, 0.6])},
    )
    save_judgement(judgement, tmp_path / "deep" / "one.safetensors")
    found = load_judgement(tmp_path / "deep" / "one.safetensors")
    for part in ("marks", "predictions", "confidence"):
        before, after = getattr(judgement, part), getattr(found, part)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert (found.chosen, found.curves) == (judgement.chosen, judgement.curves)


def test_an_empty_judgement_can_be_kept(tmp_path: Path) -> None:
    save_judgement(Judgement({}, {}), tmp_path / "none.safetensors")
    assert load_judgement(tmp_path / "none.safetensors") == Judgement({}, {})
