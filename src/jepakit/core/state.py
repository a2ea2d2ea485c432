"""All that a run needs to go on: taken from networks and optimizer, and put back into them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from jepakit.core.sharded_checkpoint import ShardedTensors
from jepakit.core.shards import is_sharded, spread_like

_NUMBER = torch.zeros(())


@dataclass(frozen=True)
class State:
    """All that a run needs to go on: tensors by name, and plain facts.

    Tensors may be spread over processes, or still lie on the disk (`ShardedTensors`).
    """

    tensors: Mapping[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds only a part of it."""
        return not isinstance(self.tensors, ShardedTensors) and any(
            map(is_sharded, self.tensors.values())
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors."""
        if isinstance(self.tensors, ShardedTensors):
            return self.tensors.shapes
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def like(self, models: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of these names, spread over processes as their models are."""
        if isinstance(self.tensors, ShardedTensors):
            return self.tensors.read(models)
        return {name: spread_like(self.tensors[name], model) for name, model in models.items()}

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.facts["step"])


def capture(objective: nn.Module, optimizer: torch.optim.Optimizer, **facts: Any) -> State:
    """The state of networks, optimizer and random numbers, with further facts (JSON values)."""
    tensors = {f"objective/{name}": value for name, value in objective.state_dict().items()}
    state = optimizer.state_dict()
    for place, moments in state["state"].items():
        tensors |= {f"optimizer/{place}/{name}": value for name, value in moments.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    return State(tensors, {**facts, "optimizer_groups": state["param_groups"]})


def restore(state: State, objective: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a captured state back; raises `ValueError` listing every difference in architecture."""
    restore_networks(state, objective)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    models: dict[str, Tensor] = {}
    for name, shape in state.shapes.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            parameter = parameters[int(rest.split("/")[0])]
            # Moments lie where their parameters lie; a number of steps is a plain number.
            models[name] = parameter if shape == tuple(parameter.shape) and shape else _NUMBER
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.like(models).items():
        _, place, key = name.split("/")
        moments.setdefault(int(place), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": state.facts["optimizer_groups"]})
    torch.set_rng_state(state.tensors["random/cpu"].cpu())
    if torch.cuda.is_available() and "random/cuda" in state.tensors:
        torch.cuda.set_rng_state(state.tensors["random/cuda"].cpu())


def restore_networks(state: State, objective: nn.Module) -> None:
    """Put the networks alone back; raises `ValueError` listing every difference in architecture."""
    present = objective.state_dict()
    expected = {f"objective/{name}": tuple(tensor.shape) for name, tensor in present.items()}
    found = {n: shape for n, shape in state.shapes.items() if n.startswith("objective/")}
    wanted, there = _first_names(expected), _first_names(found)
    if wanted - there:
        raise ValueError(
            f"the checkpoint has no {' and no '.join(sorted(wanted - there))}, only "
            f"{', '.join(sorted(there)) or 'other things'}: give one that `jepa pretrain` wrote"
        )
    differences = compare_shapes(expected, found)
    if differences:
        raise ValueError(
            "the checkpoint is of another architecture; start in another folder "
            "(folder=NEW) or restore the settings. Differences:\n  " + "\n  ".join(differences)
        )
    networks = state.like({f"objective/{name}": tensor for name, tensor in present.items()})
    objective.load_state_dict({n.removeprefix("objective/"): v for n, v in networks.items()})


def _first_names(names: Iterable[str]) -> set[str]:
    """The networks that a state is made of: `predictor` of `objective/predictor.norm.bias`."""
    return {name.removeprefix("objective/").partition(".")[0] for name in names}


def compare_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """One line per tensor that is missing, unknown, or of another shape."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        here, there = expected.get(name, "absent"), found.get(name, "absent")
        if here != there:
            shown = name.removeprefix("objective/")
            lines.append(f"{shown}: this run {here}, checkpoint {there}")
    most = 12
    return [*lines[:most], f"… and {len(lines) - most} more"] if len(lines) > most else lines
