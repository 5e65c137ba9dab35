"""The plain function: named tensors into a module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import torch

from ._adapters import TensorFacts
from ._fallback import _error
from ._session import Session
from ._target import Target
from ._sources import are_kept, hold


def reload(module: torch.nn.Module, weights: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]], *,
           config: Any = None, partial: bool = False) -> set[str]:
    """Quantizes high-precision weights into the parameters and buffers of `module`, in place, and returns the names that
    came. Parameters keep identity and storage. All or nothing: on any failure the module is as it was.

    weights: by the module's own names, each of the shape that it had before it was quantized; tensors, or numpy's arrays.
    Those of a mapping are read where they lie, and must stay as they are until this returns; those of an iterator are read
    before the next one is asked for, so they may share a buffer.
    config: the torchao configuration that the module was quantized with; needed only for tensor classes, or attributes,
    that are not known here. partial: leave what does not come as it is.

    Raises liveweight.Error: unknown_tensor, missing_tensor, wrong_shape, wrong_dtype, non_finite, unsupported, and
    invalid_argument for weights that are no names and tensors."""
    session = Session(config, partial)
    try:
        items = weights.items() if isinstance(weights, Mapping) else weights
        return _reload(session, module, hold(session, map(_named_tensor, count(), items), are_kept(items)))
    finally:
        session.close()


def _reload(session: Session, module: torch.nn.Module, weights: Iterator[tuple[str, torch.Tensor]]) -> set[str]:
    owners = _targets(session, module)
    came: set[str] = set()
    for name, tensor in weights:
        if name not in owners:
            raise _error("unknown_tensor", name, f"{type(module).__name__} has none of that name")
        target = owners[name]
        if tensor.shape != target.original.shape:
            raise _error("wrong_shape", name, f"expected {tuple(target.original.shape)}, got {tuple(tensor.shape)}")
        if not tensor.is_floating_point() and target.original.dtype.is_floating_point:
            raise _error("wrong_dtype", name, f"expected {target.original.dtype}, got {tensor.dtype}")
        session.put(target, 0, tensor)
        came.add(name)
    session.prepare()
    session.commit()
    return came


def _named_tensor(at: int, item: Any) -> tuple[str, torch.Tensor]:
    """An item of the weights, whose tensor may be an array of numpy's."""
    if not isinstance(item, (tuple, list)) or len(item) != 2 or not isinstance(item[0], str):
        raise _error("invalid_argument", f"#{at}", f"expected a name and a tensor, got {_described(item)}")
    name, tensor = item
    if isinstance(tensor, torch.Tensor):
        return name, tensor
    if not hasattr(tensor, "__array_interface__"):
        raise _error("invalid_argument", name, f"expected a tensor, got {_described(tensor)}")
    try:
        return name, torch.as_tensor(tensor)
    except (TypeError, ValueError) as error:
        raise _error("wrong_dtype", name, f"expected an array that is a tensor as it lies: {error}") from None


def _described(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")


def _targets(session: Session, module: torch.nn.Module) -> dict[str, Target]:
    """Every parameter and persistent buffer by each of its names; a tied one is one target."""
    by_tensor: dict[int, Target] = {}
    owners: dict[str, Target] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        buffers = {name: value for name, value in part._buffers.items() if name not in part._non_persistent_buffers_set}
        for attribute, live in {**part._parameters, **buffers}.items():
            if live is None or _is_scale(part, attribute):
                continue
            if id(live) not in by_tensor:
                facts = TensorFacts(_original_shape(part, attribute, live), _original_dtype(part, attribute, live))
                by_tensor[id(live)] = session.add_target(Target(prefix, part, attribute, live, facts))
            owners[f"{prefix}.{attribute}" if prefix else attribute] = by_tensor[id(live)]
    return owners


def _is_scale(module: torch.nn.Module, attribute: str) -> bool:
    """Whether the tensor follows from another: `weight_scale` from `weight`."""
    for suffix in ("_scale", "_scale_inv", "_zero_point"):
        base = getattr(module, attribute.removesuffix(suffix), None) if attribute.endswith(suffix) else None
        if isinstance(base, torch.Tensor) and base.dtype in (torch.int8, torch.float8_e4m3fn):
            return True
    return False


def _original_shape(module, attribute, live) -> torch.Size:
    transposed = live.dim() == 2 and not live.is_contiguous() and live.t().is_contiguous() if _is_bare_code(live) else False
    return torch.Size(reversed(live.shape)) if transposed else live.shape


def _original_dtype(module, attribute, live) -> torch.dtype:
    """What a bare tensor of codes was made from: compressed-tensors keeps that as the scale's dtype; else bf16."""
    if not _is_bare_code(live):
        return live.dtype
    scale = getattr(module, f"{attribute}_scale", None)
    is_float = isinstance(scale, torch.Tensor) and scale.dtype in (torch.float16, torch.bfloat16)
    return scale.dtype if is_float else torch.bfloat16


def _is_bare_code(live: torch.Tensor) -> bool:
    return not hasattr(live, "__tensor_flatten__") and live.dtype == torch.float8_e4m3fn or (
        not hasattr(live, "__tensor_flatten__") and live.dtype == torch.int8)
