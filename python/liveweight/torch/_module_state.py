"""What a module is made of, to be put back after a reload that failed."""

from __future__ import annotations

from functools import partial

import torch

from ._fallback import inner_tensors

TABLES = ("_parameters", "_buffers", "_modules")


class ModuleState:
    """One level deep."""

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.parts = [(module, dict(module.__dict__), {key: dict(module.__dict__[key]) for key in TABLES})
                      for module in model.modules()]
        self.attributes = [(parameter, dict(parameter.__dict__)) for parameter in model.parameters()]

    def plain_tensors(self) -> list[torch.Tensor]:
        """Every buffer, and what parameters are made of: loaders should not write there, but may."""
        tensors = [buffer for module, _, _ in self.parts for buffer in module._buffers.values() if buffer is not None]
        return [inner for tensor in [*tensors, *self.model.parameters()] for inner in inner_tensors(tensor)]

    def settle(self) -> list[partial]:
        """The steps, all in C, that put the parameters back where stand-ins are, and forget what else there was."""
        return [*(partial(module._parameters.update, tables["_parameters"]) for module, _, tables in self.parts),
                partial(self.parts.clear), partial(self.attributes.clear)]

    def restore(self) -> None:
        for module, attributes, tables in self.parts:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for key, table in tables.items():
                module.__dict__[key].clear()
                module.__dict__[key].update(table)
        for parameter, attributes in self.attributes:
            parameter.__dict__.clear()
            parameter.__dict__.update(attributes)
