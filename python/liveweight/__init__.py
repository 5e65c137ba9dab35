"""Liveweight keeps a quantized model live: it takes new high-precision weights into a running quantized model, in place,
bit for bit as a cold load would, all or nothing.

    model = liveweight.Model.load("checkpoints/step_0", quant="fp8_per_block")
    with model.update(version="step 1") as update:
        for name, tensor in trainer.state_dict().items():
            update.put(name, tensor)

`liveweight.torch` reloads torch modules that torchao, compressed-tensors or others quantized; it needs torch, which
nothing else here does."""

from __future__ import annotations

from typing import Any

from . import _core
from ._core import (Array, Completion, DeltaReport, DeltaWriter, Error, LiveTensor, Model, Update, UpdateReport, Version,
                    apply_deltas)

__all__ = ["Array", "Completion", "DeltaReport", "DeltaWriter", "Error", "LiveTensor", "Model", "Update", "UpdateReport", "Version",
           "apply_deltas", "dequantize", "diff", "quantize"]


def quantize(tensor: Any, scheme: str) -> tuple[Any, ...]:
    """Codes [rows, cols] and scales of a matrix, and its zero points where the scheme has them.

    `tensor` is [rows, cols], bf16, fp16 or fp32. `scheme` is a name such as "int8_per_channel" or
    "int4_per_group:64@torchao"; docs/quantization.md lists them. Codes are int8 (int4 codes too, from -8 to 7) or
    fp8 e4m3; scales are [rows, 1], [rows, groups], [row blocks, column blocks] or [1, 1]. The results are of the
    tensor's library (torch or numpy), or `Array`. Raises Error: wrong_dtype, wrong_shape, non_finite, invalid_argument."""
    return tuple(_as_library_of(tensor, part) for part in _core.quantize(tensor, scheme))


def dequantize(codes: Any, scales: Any, zero_points: Any = None, *, scheme: str) -> Any:
    """The fp32 matrix that a kernel multiplies with: code * scale, code * scale + zero point where that is floating, or
    (code - zero point) * scale. The arguments are what `quantize` gives for that scheme."""
    return _as_library_of(codes, _core.dequantize(codes, scales, zero_points, scheme))


def diff(old: Any, new: Any) -> tuple[Any, Any]:
    """Indices (uint32 [n], ascending, of the flattened tensor) and values [n] of the elements whose bits differ, as
    `Update.put_delta` takes them.

    Both tensors are of one shape and dtype, any dtype of whole bytes, as `Update.put` takes them. The results are of their
    library (torch or numpy), or `Array`. Raises Error: wrong_dtype, wrong_shape, unsupported (2**32 elements or more)."""
    indices, values = _core.diff(old, new)
    return _as_library_of(new, indices), _as_library_of(new, values)


def _as_library_of(example: Any, array: Array) -> Any:
    library = type(example).__module__.partition(".")[0]
    if library == "torch":
        import torch
        return torch.from_dlpack(array)
    if library == "numpy":
        import numpy
        return numpy.asarray(array)
    return array
