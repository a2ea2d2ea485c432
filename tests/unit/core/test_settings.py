"""The parent of all settings."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from jepakit.core.settings import Settings


class Example(Settings):
    number: float = Field(1.0, ge=0)
    model_name: str = "a"  # pydantic would warn of names that begin with `model_`


class WrongDefault(Settings):
    number: float = Field(-1.0, ge=0)


def test_settings_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Example().number = 2.0
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example(nmber=2.0)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "x"])
def test_values_are_checked(value: object) -> None:
    with pytest.raises(ValidationError):
        Example(number=value)


def test_defaults_are_checked_too() -> None:
    with pytest.raises(ValidationError):
        WrongDefault()


def test_equal_settings_are_equal() -> None:
    assert Example(number=2) == Example(number=2.0) != Example()
    assert Example.model_validate_json(Example(number=0.1).model_dump_json()).number == 0.1
