"""What comes for parameters of several names: under each of these it must be the same."""

from __future__ import annotations

import ctypes
import hashlib
from collections import Counter

import torch

from ._fallback import _error
from ._target import Target


class Ties:
    def __init__(self, session, owners: dict[str, Target]):
        self.session, self.owners = session, owners
        self.names = Counter(owners.values())
        self.first: dict[Target, tuple[str, torch.Tensor | bytes]] = {}  # a name, and what came: itself, or a digest

    def came_before(self, name: str, tensor: torch.Tensor) -> bool:
        """Whether the same did under another name; an error where that was something else."""
        target = self.owners[name]
        if self.names[target] == 1:
            return False
        if target not in self.first:
            self.first[target] = name, tensor if self.session.lifetimes.lasts(tensor) else _digest(tensor)
            return False
        other, kept = self.first[target]
        if not (_digest(tensor) == kept if isinstance(kept, bytes) else _same_bits(tensor, kept)):
            raise _error("duplicate_tensor", name, f"expected what came for {other}, to which it is tied, got something else")
        return True


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    same_place = a.data_ptr() == b.data_ptr() and a.stride() == b.stride()
    return a.dtype == b.dtype and (same_place or torch.equal(_bytes(a), _bytes(b)))


def _digest(tensor: torch.Tensor) -> bytes:
    packed = _bytes(tensor)
    memory = (ctypes.c_char * packed.numel()).from_address(packed.data_ptr())
    return hashlib.blake2b(memory, person=str(tensor.dtype)[6:].encode()[:16]).digest()


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().view(-1).view(torch.uint8)
