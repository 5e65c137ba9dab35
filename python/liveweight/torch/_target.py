"""A parameter that a reload fills, and what has come for it."""

from __future__ import annotations

import torch

from ._adapters import Destination, TensorFacts
from ._fallback import _error, inner_tensors
from ._layers import Layer


class Temporary:
    """A parameter held whole, in high precision, until all of it has come."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype, device: torch.device):
        self.data = torch.empty(shape, dtype=dtype, device=device)
        self.came = torch.zeros(shape, dtype=torch.bool, device=device)
        self.lacks = shape.numel()

    def fill(self, start: int, source: torch.Tensor) -> None:
        end = start + source.numel()
        self.data.view(-1)[start:end].copy_(source.detach().reshape(-1))
        self._mark(self.came.view(-1)[start:end])

    def mark(self, view: torch.Tensor) -> None:
        """What an operation wrote, given as a view that lies in memory as the one of `data` does."""
        self._mark(self.came.as_strided(view.shape, view.stride(), view.storage_offset()))

    def _mark(self, came: torch.Tensor) -> None:
        self.lacks -= came.numel() - int(came.count_nonzero())
        came.fill_(True)

    def is_whole(self) -> bool:
        return self.lacks == 0

    def check_finite(self, name: str) -> None:
        if self.data.is_floating_point() and not bool(torch.isfinite(self.data).all()):
            raise _error("non_finite", name, "expected finite values")


class Target:
    """A parameter of the module as it lives, and what has come for it."""

    def __init__(self, module_name, module, attribute, live, original: TensorFacts):
        self.module_name, self.module, self.attribute, self.live, self.original = module_name, module, attribute, live, original
        self.name = f"{module_name}.{attribute}" if module_name else attribute
        self.cols = original.shape[-1] if len(original.shape) > 1 else 1
        self.layers: list[Layer] = []  # those that make more of it than its bytes; they want it as a temporary
        self.index: int | None = None  # in the native update; None for those that only a temporary can hold
        self.destination: Destination | None = None  # likewise
        self.temporary: Temporary | None = None
        self.made: torch.Tensor | None = None  # what the fallback made of it
        self.borrowed: list = []  # pieces that were given away but can be read again
        self.staged = False  # pieces were given away that cannot

    def hold(self) -> None:
        self.temporary = Temporary(self.original.shape, self.original.dtype, inner_tensors(self.live)[0].device)

    def is_held_whole(self) -> bool:
        return self.temporary is not None and self.temporary.is_whole()

    def is_made(self) -> bool:
        return self.made is not None or bool(self.layers) and all(layer.done for layer in self.layers)
