"""The plain function: named tensors into a module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import torch

from ._adapters import TensorFacts
from ._fallback import _error, has_memory
from ._modules import joined, named_modules
from ._session import Session
from ._sources import are_kept, hold
from ._target import Target
from ._ties import Ties


_CODES = (torch.int8, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def reload(module: torch.nn.Module, weights: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]], *,
           config: Any = None, partial: bool = False) -> set[str]:
    """Quantizes high-precision weights into the parameters and buffers of `module`, in place, and returns the names that
    came. Parameters keep identity and storage. All or nothing: on any failure the module is as it was, or all
    new where the handler of a signal raised after the commit.

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
    owners, derived = _targets(session, module)
    ties = Ties(session, owners)
    came: set[str] = set()
    for name, tensor in weights:
        if name not in owners:
            raise _error("unknown_tensor", name, f"it follows from {derived[name]}, and must not come" if name in derived else
                         f"{type(module).__name__} has none of that name")
        if name in came:
            raise _error("duplicate_tensor", name, "expected it once, got it twice")
        _check_fits(owners[name], name, tensor)
        if not ties.came_before(name, tensor):
            _take(session, owners[name], tensor)
        came.add(name)
    session.prepare()
    session.commit()
    return came


def _check_fits(target: Target, name: str, tensor: torch.Tensor) -> None:
    shape, dtype = target.original.shape, target.original.dtype
    if tensor.shape != shape:
        raise _error("wrong_shape", name, f"expected {tuple(shape)}, got {tuple(tensor.shape)}")
    if not has_memory(tensor):
        raise _error("unsupported", name, f"expected a tensor with memory of its own, got a {type(tensor).__name__} (of a DTensor, "
                                          "give full_tensor())")
    rounds = dtype.is_floating_point and dtype.itemsize > 1 and tensor.is_floating_point()
    if tensor.dtype != dtype and not rounds:
        raise _error("wrong_dtype", name, f"expected {dtype}, got {tensor.dtype}")


def _take(session: Session, target: Target, tensor: torch.Tensor) -> None:
    if target.is_optional:
        _add(session, target)
    if target.is_buffer:
        target.made = tensor.detach().to(target.live.device, target.original.dtype, copy=True)
    else:
        session.put(target, 0, tensor)


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


def _targets(session: Session, module: torch.nn.Module) -> tuple[dict[str, Target], dict[str, str]]:
    """Every parameter and persistent buffer by each of its names; a tied one is one target. And the names of those that follow
    from others, with what they follow from."""
    by_tensor: dict[int, Target] = {}
    owners: dict[str, Target] = {}
    derived: dict[str, str] = {}
    for prefix, part in named_modules(module):
        buffers = {name: value for name, value in part._buffers.items() if name not in part._non_persistent_buffers_set}
        for attribute, live in {**part._parameters, **buffers}.items():
            if live is None:
                continue
            base = _base_of_scale(part, attribute)
            if base is not None:
                derived[joined(prefix, attribute)] = joined(prefix, base)
                continue
            if id(live) not in by_tensor:
                by_tensor[id(live)] = _target(session, prefix, part, attribute, live)
            owners[joined(prefix, attribute)] = by_tensor[id(live)]
    return owners, derived


def _target(session: Session, prefix: str, part: torch.nn.Module, attribute: str, live: torch.Tensor) -> Target:
    facts = TensorFacts(_original_shape(part, attribute, live), _original_dtype(part, attribute, live))
    target = Target(prefix, part, attribute, live, facts)
    if attribute in part._buffers and not _is_quantized(session, target):
        target = Target(prefix, part, attribute, live, TensorFacts(live.shape, live.dtype))
        target.is_buffer = True
    target.is_optional = _is_static_scale(part, attribute)
    if not target.is_optional:
        _add(session, target)
    return target


def _add(session: Session, target: Target) -> None:
    """Buffers go around the native update, which takes finite values only."""
    if target.is_buffer:
        session.targets.append(target)
    else:
        session.add_target(target)


def _is_quantized(session: Session, target: Target) -> bool:
    destination = session.destination(target)
    return hasattr(target.live, "__tensor_flatten__") or destination is not None and destination.scheme != "none"


def _base_of_scale(module: torch.nn.Module, attribute: str) -> str | None:
    """What the tensor follows from, if that is so: `weight_scale` from `weight`."""
    for suffix in ("_scale", "_scale_inv", "_zero_point"):
        base = attribute.removesuffix(suffix)
        found = getattr(module, base, None) if base != attribute else None
        if isinstance(found, torch.Tensor) and found.dtype in _CODES:
            return base
    return None


def _is_static_scale(module: torch.nn.Module, attribute: str) -> bool:
    """Whether it is of activations beside quantized weights, which trainers do not have: it stays, unless it comes."""
    return attribute.endswith(("input_scale", "input_zero_point", "output_scale", "output_zero_point")) and any(
        live is not None and _is_bare_code(live) for live in {**module._parameters, **module._buffers}.values())


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
    return not hasattr(live, "__tensor_flatten__") and live.dtype in _CODES
