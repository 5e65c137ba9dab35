"""What a module is made of, to be put back after a reload that failed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial

import torch

from ._fallback import plain_parts

TABLES = ("_parameters", "_buffers", "_modules")
_COPIES = {dict: dict, OrderedDict: dict, list: list, set: set}
_VALUES = {type(None), bool, int, float, str}  # most attributes are of these


class ModuleState:
    """The attributes and classes of modules and tensors; what is in modules' own dictionaries, lists and sets, such as hooks;
    and, once `plain_tensors` was called, where tensors lie."""

    def __init__(self, model: torch.nn.Module):
        modules = list(model.modules())
        attributes = [item for module in modules for item in module.__dict__.items() if type(item[1]) not in _VALUES]
        containers = [value for key, value in attributes if type(value) in _COPIES or key in TABLES]
        tensors = {id(tensor): tensor for tensor in _tensors(modules, [value for _, value in attributes])}
        self.objects = [(thing, thing.__class__, dict(thing.__dict__)) for thing in (*modules, *tensors.values())]
        self.empty = [value for value in containers if not value]
        self.contents = [(value, _COPIES.get(type(value), dict)(value)) for value in containers if value]
        self.parameters = [(module, dict(module._parameters)) for module in modules if module._parameters]
        self.tensors = list(tensors.values())
        self.parts: list[tuple[torch.Tensor, torch.Tensor]] = []  # with another tensor of the same memory each

    def plain_tensors(self) -> list[torch.Tensor]:
        """What the module's tensors are made of: loaders should not write there, but may."""
        self.parts += [(part, part.detach()) for tensor in self.tensors for part in plain_parts(tensor)
                       if part.layout is torch.strided]
        return [same for _, same in self.parts]

    def settle(self) -> list[partial]:
        """The steps, all in C, that put the parameters back where stand-ins are, and forget what else there was."""
        return [*(partial(module._parameters.update, before) for module, before in self.parameters),
                *(partial(known.clear) for known in vars(self).values())]

    def restore(self) -> None:
        for thing, kind, attributes in self.objects:
            if thing.__class__ is not kind:
                object.__setattr__(thing, "__class__", kind)
            thing.__dict__.clear()
            thing.__dict__.update(attributes)
        for container in self.empty:
            container.clear()
        for container, before in self.contents:
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(before)
        for part, same in self.parts:
            if _place(part) != _place(same):
                part.data = same


def _tensors(modules: list[torch.nn.Module], attributes: list) -> Iterator[torch.Tensor]:
    """Parameters, buffers, and those among the attributes."""
    for module in modules:
        yield from (value for table in (module._parameters, module._buffers) for value in table.values() if value is not None)
    yield from (value for value in attributes if type(value) not in _COPIES and isinstance(value, torch.Tensor))


def _place(tensor: torch.Tensor) -> tuple:
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
