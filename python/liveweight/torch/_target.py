"""A parameter that a reload fills, and what has come for it."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter

import torch

from ._adapters import Destination, TensorFacts
from ._fallback import _error, inner_tensors
from ._layers import Layer
from ._modules import joined


_BY_BYTES = {size: getattr(torch, f"int{8 * size}") for size in (1, 2, 4, 8)}


def lying_as(memory: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """The view of contiguous `memory` that lies in it, and reads it, as `view` does in a parameter."""
    flat = memory.view(-1).view(view.dtype)
    made = flat.as_strided(view.shape, view.stride(), flat.storage_offset() + view.storage_offset())
    made = made.conj() if view.is_conj() else made
    return torch._neg_view(made) if view.is_neg() else made


def is_finite(tensor: torch.Tensor) -> bool:
    """Extremes tell: they are NaN where any element is, and `isfinite` takes fifty times as long."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(_computable(tensor)))


def _computable(tensor: torch.Tensor) -> torch.Tensor:
    """torch has few operations for fp8."""
    return tensor if tensor.element_size() > 1 else tensor.float()


class Temporary:
    """A parameter held whole, in high precision, until all of it has come."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype, live: torch.Tensor):
        self.data = torch.empty(shape, dtype=dtype, device=inner_tensors(live)[0].device)
        self.came = torch.zeros(shape, dtype=torch.bool, device=self.data.device)
        self.lacks = shape.numel()
        if not self._has_nan():  # what may have come, or not, is what it was
            same = (live.shape, live.dtype) == (shape, dtype)
            self.data.copy_(live.detach() if same else torch.zeros((), dtype=torch.uint8))
        self.exposed = False  # somebody may write there who is not seen

    def fill(self, start: int, source: torch.Tensor) -> None:
        end = start + source.numel()
        self.data.view(-1)[start:end].copy_(source.detach().reshape(-1))
        self._mark(self.came.view(-1)[start:end])

    def like(self, view: torch.Tensor) -> torch.Tensor:
        return lying_as(self.data, view)

    def blank(self) -> None:
        """Before an operation that may write anything, or nothing: what did not come is NaN, where there is such a thing."""
        if self._has_nan() and not self.is_whole():
            nan = torch.full((1,), float("nan"), device=self.data.device).to(self.data.dtype)
            size = self.data.element_size()
            self.data.view(_BY_BYTES[size]).masked_fill_(~self.came, nan.view(_BY_BYTES[size])[0])

    def mark_written(self, view: torch.Tensor) -> None:
        """Of what such an operation may have written, given as a view that lies in memory as the one of `data` does."""
        if not self._has_nan():
            self.mark(view)
        elif not self.is_whole():
            self._set(self.came | ~self._is_nan())

    def mark(self, view: torch.Tensor) -> None:
        """All of a view, given likewise, was written."""
        each, size = self.data.element_size(), view.element_size()
        if size == each:
            self._mark(self.came.as_strided(view.shape, view.stride(), view.storage_offset()))
            return
        by_bytes = self.came.view(torch.uint8).view(-1, 1).repeat(1, each)
        by_bytes.view(-1).view(_BY_BYTES[size]).as_strided(view.shape, view.stride(), view.storage_offset()).fill_(-1)
        self._set(by_bytes.bool().all(1).view(self.came.shape))

    def unmark(self, view: torch.Tensor) -> None:
        """All of a view is NaN, as a loader has it that looks for what does not come."""
        if self._has_nan():
            self.came.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(False)
            self._set(self.came)

    def expose(self, view: torch.Tensor) -> None:
        """Somebody is about to write to a view, given likewise, and is not seen: what is no NaN at the end has come."""
        self.blank()
        self.exposed = self._has_nan()
        if not self.exposed:
            self.mark(view)

    def _has_nan(self) -> bool:
        return self.data.is_floating_point()

    def _is_nan(self) -> torch.Tensor:
        return _computable(self.data).isnan()

    def _set(self, came: torch.Tensor) -> None:
        self.came, self.lacks = came, came.numel() - int(came.count_nonzero())

    def _mark(self, came: torch.Tensor) -> None:
        self.lacks -= came.numel() - int(came.count_nonzero())
        came.fill_(True)

    def is_whole(self) -> bool:
        if self.exposed and self.lacks > 0:
            self._set(self.came | ~self._is_nan())
        return self.lacks == 0

    def is_untouched(self) -> bool:
        return not self.is_whole() and self.lacks == self.came.numel()

    def check_finite(self, name: str) -> None:
        if not is_finite(self.data):
            raise _error("non_finite", name, "expected finite values")


class Pieces:
    """Of one target, those that wait to be read: none of them overlaps another."""

    def __init__(self):
        self.pieces: list[tuple[int, int, torch.Tensor]] = []  # begin and end, by begin

    def add(self, begin: int, source: torch.Tensor) -> bool:
        """In place of the same piece, if that waits; False, and it is not taken, where it overlaps others."""
        end, at = begin + source.numel(), self._first_from(begin)
        same = at < len(self.pieces) and self.pieces[at][:2] == (begin, end)
        if at > 0 and self.pieces[at - 1][1] > begin or not same and at < len(self.pieces) and self.pieces[at][0] < end:
            return False
        self.pieces[at:at + same] = [(begin, end, source)]
        return True

    def copy_those_in(self, tensor: torch.Tensor) -> None:
        """What was there is read from a copy, as somebody is about to write there."""
        storage = tensor.untyped_storage()._cdata
        self.pieces = [(begin, end, source.clone() if source.untyped_storage()._cdata == storage else source)
                       for begin, end, source in self.pieces]

    def ends_at(self, begin: int) -> bool:
        at = self._first_from(begin)
        return at > 0 and self.pieces[at - 1][1] == begin

    def _first_from(self, begin: int) -> int:
        return bisect_left(self.pieces, begin, key=itemgetter(0))

    def __iter__(self):
        return ((begin, source) for begin, _, source in self.pieces)


class Target:
    """A parameter of the module as it lives, and what has come for it."""

    def __init__(self, module_name, module, attribute, live, original: TensorFacts):
        self.module_name, self.module, self.attribute, self.live, self.original = module_name, module, attribute, live, original
        self.name = joined(module_name, attribute)
        self.cols = max(1, original.shape[-1]) if len(original.shape) > 1 else 1
        self.layers: list[Layer] = []  # those that make more of it than its bytes; they want it as a temporary
        self.stand_in: torch.Tensor | None = None  # what a loader gets for it
        self.is_buffer = False  # and not quantized: it takes what comes as it is
        self.is_optional = False  # it stays as it is where nothing comes
        self.index: int | None = None  # in the native update; None for those that only a temporary can hold
        self.destination: Destination | None = None  # likewise
        self.temporary: Temporary | None = None
        self.made: torch.Tensor | None = None  # what the fallback made of it
        self.borrowed: list = []  # pieces that were given away but can be read again
        self.staged = False  # pieces were given away that cannot
        self.lost = False  # such pieces are gone: the loader came back to write anew
        self.placed = None  # a tensor in the parameter's place, if that came last (Placements)

    def is_plain(self) -> bool:
        """Whether what comes is what will live there, not quantized."""
        return self.destination is not None and self.destination.scheme == "none"

    def hold(self) -> None:
        self.temporary = Temporary(self.original.shape, self.original.dtype, self.live)

    def with_layers(self) -> list[Target]:
        """Itself, and all targets of its layers."""
        return [self, *(other for layer in self.layers for other in layer.targets.values())]

    def is_held_whole(self) -> bool:
        return self.temporary is not None and self.temporary.is_whole()

    def is_made(self) -> bool:
        return self.made is not None or bool(self.layers) and all(layer.done for layer in self.layers)
