"""The classes of what a loader gets for parameters, and for views of these: tensors on torch's meta device that say of
themselves what the parameter would, and have memory once somebody asks where it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_SEQUENCES = (list, tuple, range)
_INDICES = (*_SEQUENCES, torch.Tensor, slice, type(None), type(...))


class _StandIn:
    """`_liveweight_recorder` knows the parameter."""

    __slots__ = ()

    def __repr__(self, **kwargs):
        return f"{type(self).__name__}(..., size={tuple(self.shape)}, dtype={self.dtype}, device='{self.device}')"

    def cpu(self, *args, **kwargs):
        return self.to("cpu", *args, **kwargs)

    def to(self, *args, **kwargs):
        """Itself, where it is there already and no copy is asked for."""
        _, *copies = [flag for flag in args if isinstance(flag, bool)] or [False]  # non_blocking, copy
        if not kwargs.get("copy") and not any(copies):
            wanted = {key: value for key, value in kwargs.items() if key != "copy"}
            device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **wanted)
            if device in (None, self.device) and dtype in (None, self.dtype) and memory_format in (None, torch.preserve_format):
                return self
        return torch.Tensor.to(self, *args, **kwargs)

    def new(self, *args, **kwargs):
        return torch.empty(0, dtype=self.dtype, device=self.device).new(*args, **kwargs)

    def new_tensor(self, data, **kwargs):
        return torch.tensor(data, **{"dtype": self.dtype, "device": self.device, **kwargs})

    def __getitem__(self, index):
        return torch.Tensor.__getitem__(self, _with_tensors(index))

    def __setitem__(self, index, value):
        torch.Tensor.__setitem__(self, _with_tensors(index), value)


def _past_torch(name: str) -> Callable:
    """A method that works on the memory behind it."""
    def method(tensor, *args, **kwargs):
        memory = tensor._liveweight_recorder.expose(tensor)
        result = getattr(memory, name)(*args, **kwargs)
        return tensor if result is memory else result
    return method


for _name in ("data_ptr", "const_data_ptr", "numpy", "__dlpack__", "__dlpack_device__", "apply_", "map_", "map2_"):
    setattr(_StandIn, _name, _past_torch(_name))


def _with_tensors(index: Any) -> Any:
    """An index with tensors in the place of lists, of which torch makes such on the meta device, without values. Like it, of a
    short list of indices it makes a tuple."""
    if isinstance(index, (list, range)):
        several = len(index) < 32 and any(isinstance(part, _INDICES) for part in index)
        return tuple(map(_tensor_of, index)) if several else _tensor_of(index)
    return tuple(map(_tensor_of, index)) if isinstance(index, tuple) else index


def _tensor_of(part: Any) -> Any:
    if not isinstance(part, _SEQUENCES):
        return part
    made = torch.tensor(part, device="cpu")
    return made if made.dtype in (torch.bool, torch.uint8) else made.long()


def _class(kind: type, device: torch.device, set_data: Callable, **members) -> type:
    """One that looks like `kind`, and makes such a one where somebody calls it. Its `data` is had without a dispatch."""
    data = property(lambda tensor: tensor._liveweight_recorder.view(tensor), set_data)
    return type(kind)(kind.__name__, (_StandIn, kind), {
        "__module__": kind.__module__, "__slots__": ("_liveweight_recorder",),
        "__new__": lambda cls, *args, **kwargs: kind(*args, **kwargs), "data": data,
        "device": device, "is_meta": False, "is_cpu": device.type == "cpu", "is_cuda": device.type == "cuda", **members})


@functools.cache
def parameter_class(kind: type, device: torch.device) -> type:
    """A parameter's own class, but for `data`, to which torch does not let tensors of another device be assigned."""
    return _class(kind, device, lambda parameter, value: parameter._liveweight_recorder.replace(value))


@functools.cache
def view_class(device: torch.device) -> type:
    """A tensor's, which is copied and kept as what it has: its values."""
    return _class(torch.Tensor, device, torch.Tensor.data.__set__, __torch_function__=torch._C._disabled_torch_function_impl,
                  __deepcopy__=lambda view, memo: view.clone(),
                  __reduce_ex__=lambda view, protocol: view.clone().__reduce_ex__(protocol))
