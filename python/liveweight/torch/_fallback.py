"""Parameters that no adapter knows: a high-precision temporary, quantized by the module's own configuration, one at a
time. Their bytes are torchao's own."""

from __future__ import annotations

import copy
import re

import torch

from .. import _core
from ._adapters import UNQUANTIZED
from ._modules import joined


HIGH_PRECISION = (*UNQUANTIZED, torch.float64)


def config_for(config, module_name: str, parameter: str):
    """The configuration of one parameter: `config`, or what a FqnToConfig says of it."""
    entries = getattr(config, "fqn_to_config", None)
    if entries is None:
        entries = getattr(config, "module_fqn_to_config", None)
    if entries is None:
        return config
    fqn = joined(module_name, parameter)
    for exact in (fqn, module_name):
        if exact in entries:
            return entries[exact]
    for name in (fqn, module_name):
        for pattern, found in entries.items():
            if pattern.startswith("re:") and re.fullmatch(pattern[3:], name):
                return found
    return entries.get("_default")


def requantize(module: torch.nn.Module, module_name: str, parameter: str, live: torch.Tensor, temporary: torch.Tensor,
               config) -> torch.Tensor:
    """What the configuration makes of `temporary`, checked to fit into `live`."""
    fqn = joined(module_name, parameter)
    if not hasattr(live, "__tensor_flatten__"):
        if live.shape != temporary.shape or live.dtype not in {temporary.dtype, *HIGH_PRECISION}:
            raise _error("unsupported", fqn, f"expected {live.dtype} {tuple(live.shape)}, got {temporary.dtype} "
                                             f"{tuple(temporary.shape)}: no adapter knows how {type(module).__name__} holds it")
        return temporary.to(live.dtype)
    chosen = config_for(config, module_name, parameter)
    if chosen is None:
        raise _error("unsupported", fqn, f"no adapter knows {type(live).__name__} with these attributes; give the configuration "
                                         "that the module was quantized with")
    from torchao.quantization import quantize_
    twin = copy.copy(module)
    twin._parameters = dict(module._parameters)
    twin._parameters[parameter] = torch.nn.Parameter(temporary, requires_grad=False)
    quantize_(twin, chosen, filter_fn=lambda candidate, _: candidate is twin)
    made = twin._parameters[parameter].detach()
    check_fits(fqn, live, made)
    return made


def check_fits(fqn: str, live: torch.Tensor, made: torch.Tensor | None) -> None:
    """Whether what was made of new weights can be copied into what lives."""
    kind = type(None if made is None else made.detach())
    if kind is not type(live.detach()) or len(inner_tensors(made)) != len(inner_tensors(live)):
        raise _error("unsupported", fqn, f"expected {type(live.detach()).__name__}, got {kind.__name__} from the configuration")
    for ours, theirs in zip(inner_tensors(live), inner_tensors(made)):
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            raise _error("unsupported", fqn, f"expected {ours.dtype} {tuple(ours.shape)} from the configuration, got {theirs.dtype} "
                                             f"{tuple(theirs.shape)}")


def check_writable(name: str, live: torch.Tensor) -> None:
    """Whether torch would copy into what lives."""
    for part in inner_tensors(live):
        if part.layout is not torch.strided or any(stride == 0 and extent > 1 for stride, extent in zip(part.stride(), part.shape)):
            raise _error("unsupported", name, "expected memory of its own for each element, to be written in place, but this is an "
                                              "expanded or a sparse tensor")


def inner_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that a tensor is made of, detached; itself where it is plain."""
    return [part.detach() for part in plain_parts(tensor)]


def plain_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in plain_parts(getattr(tensor, name))]


is_meta = torch.Tensor.is_meta.__get__  # of a tensor, whatever its own class says


def has_memory(tensor: torch.Tensor) -> bool:
    """Whether its elements are where it says; those of wrappers (a DTensor, torchao's classes) are somewhere else."""
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) or tensor.numel() == 0 or not (
        hasattr(tensor, "__tensor_flatten__") or tensor.is_cpu and tensor.data_ptr() == 0)


def _error(code: str, name: str, sentence: str) -> _core.Error:
    error = _core.Error(f"tensor {name}: {sentence}")
    error.code, error.names = code, [name]
    return error
