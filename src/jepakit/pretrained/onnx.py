"""ONNX files: written in fp32, fp16 or int8, and run by onnxruntime."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from jepakit.models import Encoder
from jepakit.pretrained.exportable import INPUT, OUTPUTS, exported_program
from jepakit.pretrained.weights import Description

OnnxPrecision = Literal["fp32", "fp16", "int8"]
_MOST_IN_ONE_FILE = 1_900_000_000  # bytes; protocol buffers end at 2 GiB


def write_onnx(
    encoder: Encoder, description: Description, path: Path, precision: OnnxPrecision = "fp32"
) -> None:
    """Write the encoder's graph: any number of pictures of any size that divides into patches.

    Above 1.9 GB the weights lie in a second file, `PATH.data`. fp16 and int8 (weights only, the
    activations are quantised as they come) begin from the fp32 graph; inputs and outputs stay
    float32. `ValueError` if onnx, onnxscript or onnxruntime is missing.
    """
    onnx, _ = _packages()
    num_bytes = sum(t.numel() * t.element_size() for t in encoder.state_dict().values())
    apart = num_bytes > _MOST_IN_ONE_FILE
    with _quiet():
        program = torch.onnx.export(
            exported_program(encoder),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=apart)
        if precision == "int8":
            _to_int8(path, apart)
        model = onnx.load(str(path), load_external_data=precision == "fp16")
        if precision == "fp16":
            model = _to_fp16(model)
    facts = {"jepakit": description.model_dump_json(), "precision": precision}
    facts["normalization"] = json.dumps(description.normalization.model_dump())
    if description.values is not None:
        facts["values"] = json.dumps(description.values)
    onnx.helper.set_model_props(model, facts)
    if precision == "fp16":
        path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    onnx.save(model, str(path))


def _to_int8(path: Path, apart: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_name(f"fp32-{path.name}")
    path.rename(whole)
    quantize_dynamic(
        whole if apart else str(whole),
        str(path),
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],  # the patches' convolution stays as it is
    )
    whole.unlink()
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)


def _to_fp16(model: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


class OnnxEncoder:
    """An `.onnx` file in onnxruntime, on the CPU."""

    def __init__(self, path: Path) -> None:
        _, runtime = _packages()
        self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, pixels: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Tokens B N D and pooled features B D of normalised pictures, float32."""
        tokens, pooled = self.session.run(list(OUTPUTS), {INPUT: pixels.cpu().numpy()})
        return torch.from_numpy(tokens), torch.from_numpy(pooled)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter and the quantiser tell their own deprecations and advice; nothing is wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx writes with it
    except ImportError as error:
        raise ValueError(
            f"ONNX files need the package {error.name}: pip install 'jepakit[onnx]'"
        ) from None
    return onnx, onnxruntime
