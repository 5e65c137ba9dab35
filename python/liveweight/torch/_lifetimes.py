"""How long the tensors that a loader copies stay where and as they are."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _core
from ._fallback import _error
from ._target import Target

_WORTH_BORROWING = 1 << 20


class Lifetimes:
    """Of storages. A loader may use tensors of its own again in ways that nobody sees, but what it was given stays until it
    asks for the next, or to the end, if it does not write there."""

    def __init__(self):
        self.given: int | None = None  # what it was given last
        self.lasting: dict[int, torch.UntypedStorage] = {}  # what stays until the end; held, so that no other has its identity
        self.written: set[int] = set()  # what the commit writes to
        self.mappings = Mappings()

    def give(self, tensor: torch.Tensor, lasts: bool) -> None:
        self.given = tensor.untyped_storage()._cdata
        if lasts:
            self.keep(tensor)

    def keep(self, tensor: torch.Tensor) -> None:
        """Somebody else does, until the end."""
        storage = tensor.untyped_storage()
        self.lasting[storage._cdata] = storage

    def take_back(self) -> None:
        self.given = None

    def stays(self, source: torch.Tensor) -> bool:
        return source.untyped_storage()._cdata == self.given or self.lasts(source)

    def lasts(self, source: torch.Tensor) -> bool:
        """Whether that is to the end: a mapped file, or a container of the caller's."""
        if source.device.type != "cpu":
            return False
        storage = source.untyped_storage()
        if storage._cdata in self.lasting or storage._cdata in self.written:
            return storage._cdata not in self.written
        if source.numel() * source.element_size() < _WORTH_BORROWING or not self.mappings.is_file(source.data_ptr()):
            return False
        self.keep(source)
        return True


def share_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the stretches from their first elements to their last overlap."""
    (begin, end), (other_begin, other_end) = map(_stretch, (a, b))
    return begin < other_end and other_begin < end


def _stretch(tensor: torch.Tensor) -> tuple[int, int]:
    if tensor.numel() == 0:
        return 0, 0
    last = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


@dataclass(eq=False)
class Placed:
    targets: list[Target]
    storage: StorageWeakRef
    layout: tuple[int, torch.Size, tuple[int, ...]]
    dtype: torch.dtype
    exposed: torch.Tensor | None = None  # itself, where somebody may write there who is not seen
    left: bool = False  # the parameter was written by itself, and is not this one any more

    def is_current(self) -> bool:
        return self.targets[0].placed is self

    def tensor(self) -> torch.Tensor | None:
        """None once nobody has it any more."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        return None if storage is None else torch.empty(0, dtype=self.dtype, device=storage.device).set_(storage, *self.layout)


class Placements:
    """Tensors that a loader put in parameters' places. Who still has one may write there."""

    def __init__(self):
        self.by_storage: dict[int, list[Placed]] = {}
        self.rewritten: dict[Placed, torch.Tensor] = {}  # to be read again

    def add(self, targets: list[Target], tensor: torch.Tensor, exposed: bool) -> None:
        storage = tensor.untyped_storage()
        layout = tensor.storage_offset(), tensor.shape, tensor.stride()
        placed = Placed(targets, StorageWeakRef(storage), layout, tensor.dtype, tensor if exposed else None)
        for target in targets:
            target.placed = placed
        self.by_storage.setdefault(storage._cdata, []).append(placed)

    def forget(self, target: Target) -> None:
        """Something else came for it."""
        target.placed = None

    def given(self, target: Target) -> torch.Tensor | None:
        """The tensor in a parameter's place, where that still is it, and lies as the parameter would: writes to one are writes
        to the other."""
        placed = target.placed
        tensor = None if placed is None or placed.dtype != target.original.dtype else placed.tensor()
        return tensor if tensor is not None and tensor.is_contiguous() else None

    def expose(self, target: Target, given: torch.Tensor) -> None:
        """What `given` gave may be written unseen from here on, and has to stay."""
        target.placed.exposed = given

    @staticmethod
    def is_exposed(target: Target, tensor: torch.Tensor) -> bool:
        """Whether that is the tensor in its place, and somebody unseen may write there."""
        exposed = None if target.placed is None else target.placed.exposed
        return exposed is not None and exposed.untyped_storage()._cdata == tensor.untyped_storage()._cdata

    def leave(self, target: Target) -> torch.Tensor | None:
        """The parameter is about to be used by itself, where the tensor in its place does not lie as it would: that one, where it
        has to be read again."""
        placed = target.placed
        if placed is None:
            return None
        for other in placed.targets:
            other.placed = None
        placed.left = True
        return self.rewritten.pop(placed, None)

    def after_write(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        for placed in self.by_storage.get(storage._cdata, ()):
            if placed.left and share_memory(placed.tensor(), tensor):
                raise _error("unsupported", placed.targets[0].name, "expected one way of writing, through the parameter or "
                                                                    "through the tensor given as its data, which lies otherwise")
            self._read_again(placed)

    def _read_again(self, placed: Placed) -> None:
        tensor = placed.tensor() if placed.is_current() and placed not in self.rewritten else None
        if tensor is not None:
            self.rewritten[placed] = tensor

    def take_rewritten(self) -> list[tuple[list[Target], torch.Tensor]]:
        for placed in (placed for kept in self.by_storage.values() for placed in kept if placed.exposed is not None):
            self._read_again(placed)
        rewritten, self.rewritten = self.rewritten, {}
        return [(placed.targets, tensor) for placed, tensor in rewritten.items() if placed.is_current()]


class Mappings:
    """Which addresses are of mapped files. A no may be out of date, which costs a copy; a yes never is."""

    def __init__(self):
        self.ranges: list[tuple[int, int, bool]] = []

    def is_file(self, address: int) -> bool:
        known = self._find(address)
        if known is None or (known[2] and not _is_mapped(*known[:2])):
            self.ranges = _core.mappings()
            known = self._find(address)
        return known is not None and known[2]

    def _find(self, address: int) -> tuple[int, int, bool] | None:
        at = bisect_right(self.ranges, address, key=lambda entry: entry[0]) - 1
        return self.ranges[at] if at >= 0 and address < self.ranges[at][1] else None


def _is_mapped(begin: int, end: int) -> bool:
    """Whether exactly that range is of one mapped file now; reading all of a process's mappings takes a millisecond."""
    return os.path.lexists(f"/proc/self/map_files/{begin:x}-{end:x}")
