"""A parameter held whole, in high precision, until all of it has come."""

from __future__ import annotations

import torch

from ._fallback import _error


class Temporary:
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
