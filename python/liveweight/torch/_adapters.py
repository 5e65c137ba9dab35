"""Where the quantized bytes of a module's parameters are, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class TensorFacts:
    """A parameter as it was before it was quantized."""
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class Destination:
    """The tensors that a quantized parameter lives in. All are contiguous; their storages are written in place.

    scheme: as in `liveweight.quantize`, or "none". It must make exactly these dtypes and sizes.
    codes: [rows, cols] elements, int8 or fp8 e4m3; int4 codes as int8 from -8 to 7. With "none", the elements themselves.
    scales, zero_points: as `liveweight.quantize` gives them, in any shape of as many elements."""
    scheme: str
    codes: torch.Tensor
    scales: torch.Tensor | None = None
    zero_points: torch.Tensor | None = None

    def parts(self) -> list[torch.Tensor]:
        return [part for part in (self.codes, self.scales, self.zero_points) if part is not None]


class Adapter(Protocol):
    """Knows one way in which modules hold quantized parameters."""

    def destination(self, module: torch.nn.Module, name: str, live: torch.Tensor, original: TensorFacts,
                    config: Any) -> Destination | None:
        """Where `module.name`, now `live` and once `original`, is to be quantized into; None where this adapter does not
        know. `config` is the configuration that the module was quantized with, where one was given."""


_adapters: list[Adapter] = []


def register_adapter(adapter: Adapter) -> None:
    """Asks `adapter` before those that are there."""
    _adapters.insert(0, adapter)


def find_destination(module, name, live, original, config) -> Destination | None:
    for adapter in _adapters:
        destination = adapter.destination(module, name, live, original, config)
        if destination is not None:
            return destination
    return None


def _all_zero(points: torch.Tensor | None) -> bool:
    """Of integer zero points; eight bytes at a time where that can be, as there is one for every group."""
    if points is None:
        return True
    by_eight = points.is_contiguous() and points.numel() * points.element_size() % 8 == 0 and points.storage_offset() % 8 == 0
    return not bool((points.detach().view(-1).view(torch.int64) if by_eight else points).any())


UNQUANTIZED = (torch.bfloat16, torch.float16, torch.float32)  # what the native update takes as it is


class PlainAdapter:
    """Parameters that are not quantized."""

    def destination(self, module, name, live, original, config):
        plain = type(live) in (torch.Tensor, torch.nn.Parameter) or not hasattr(live, "__tensor_flatten__")
        same = live.dtype == original.dtype and live.shape == original.shape
        if plain and same and live.dtype in UNQUANTIZED and live.is_contiguous() and live.device.type == "cpu":
            return Destination("none", live.detach())
        return None


class TorchaoAdapter:
    """torchao's Int8Tensor by rows, Float8Tensor by tensor or rows, and IntxUnpackedToInt8Tensor of int4 and int8 by groups
    or rows, as its configurations make them on the CPU."""

    def destination(self, module, name, live, original, config):
        if not type(live).__module__.startswith("torchao.") or live.shape != original.shape or live.dim() not in (2, 3):
            return None
        if live.dtype != original.dtype or not live.qdata.is_contiguous() or live.qdata.device.type != "cpu":
            return None
        describe = {"Int8Tensor": self._int8, "Float8Tensor": self._float8, "IntxUnpackedToInt8Tensor": self._intx}
        return describe.get(type(live).__name__, lambda *_: None)(live, config)

    @staticmethod
    def _by_rows(live) -> bool:
        return list(live.block_size) == [1] * (live.dim() - 1) + [live.shape[-1]]

    def _int8(self, live, config):
        special = (live.reduce_range, live.act_pre_scale is not None, live.act_quant_scale is not None)
        if any(special) or not _all_zero(live.zero_point) or not self._by_rows(live) or live.scale.dtype != torch.float32:
            return None
        return Destination("int8_per_channel@torchao", live.qdata, live.scale)

    def _float8(self, live, config):
        if live.qdata.dtype != torch.float8_e4m3fn or live.scale.dtype != torch.float32:
            return None
        if self._by_rows(live):
            return Destination("fp8_per_channel@torchao", live.qdata, live.scale)
        if list(live.block_size) == list(live.shape):
            return Destination("fp8_per_tensor@torchao", live.qdata, live.scale)
        return None

    def _intx(self, live, config):
        element = {torch.int4: "int4", torch.int8: "int8"}.get(live.target_dtype)
        special = {str(getattr(config, field, None)).rpartition(".")[2].lower()
                   for field in ("intx_choose_qparams_algorithm", "mapping_type", "weight_mapping_type")}
        if element is None or live.dim() != 2 or live.block_size[0] != 1 or live.scale.dtype != live.dtype:
            return None
        plain = special <= {"none", "affine", "symmetric"} and live.zero_point.dtype == torch.int8
        if not plain or not _all_zero(live.zero_point):
            return None
        return Destination(f"{element}_per_group:{live.block_size[1]}@torchao-intx", live.qdata, live.scale)


class ScalePairAdapter:
    """compressed-tensors' and plain fp8 modules: `weight`, int8 or fp8 e4m3 [N, K] (or its transpose, as vLLM keeps it), and
    `weight_scale` beside it: one, [N] or [N, 1], or by 128 x 128 blocks as `weight_scale_inv`."""

    def destination(self, module, name, live, original, config):
        kinds = {torch.int8: "int8", torch.float8_e4m3fn: "fp8"}
        if live.dtype not in kinds or hasattr(live, "__tensor_flatten__") or len(original.shape) != 2:
            return None
        codes = live.detach()
        if codes.shape != original.shape or not codes.is_contiguous():
            codes = codes.t()
        scale = getattr(module, f"{name}_scale", None)
        blocks = getattr(module, f"{name}_scale_inv", None)
        zero_points = getattr(module, f"{name}_zero_point", None)
        scales = blocks if scale is None else scale
        if codes.shape != original.shape or not codes.is_contiguous() or scales is None:
            return None
        if not _all_zero(zero_points):
            return None
        scheme = self._scheme(kinds[live.dtype], original.shape, scales.detach(), hasattr(module, "quantization_scheme"))
        return scheme and Destination(scheme, codes, scales.detach())

    @staticmethod
    def _scheme(kind, shape, scales, compressed_tensors):
        rows, cols = shape
        profile = "compressed-tensors" if compressed_tensors else "vllm"
        if scales.numel() == 1 and rows > 1:
            return None if kind == "int8" and not compressed_tensors else f"{kind}_per_tensor@{profile}"
        if scales.numel() == rows:
            return f"{kind}_per_channel@{profile}"
        if kind == "fp8" and scales.shape == (-(-rows // 128), -(-cols // 128)):
            return f"fp8_per_block@{profile}"
        return None


for _adapter in (ScalePairAdapter(), TorchaoAdapter(), PlainAdapter()):
    register_adapter(_adapter)
