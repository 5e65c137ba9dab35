"""Iterators of weights: what they yield, and how long it lasts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import torch

from .. import _core

_CONTAINERS = tuple(type(kind) for kind in (
    {}.items(), iter({}.items()), [], iter([]), (), iter(())))


def hold_container(session, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the weights, giving each to the native update before the next one is asked for. Where they come straight out
    of a dictionary, list or tuple, that holds them until the end, and so need we not copy."""
    lasts = type(weights) in _CONTAINERS
    for name, tensor in weights:
        if lasts:
            session.lasting.add(tensor.untyped_storage()._cdata)
        yield name, tensor
        session.flush()


class Mappings:
    """Which addresses are of mapped files. A no may be out of date, which costs a copy; a yes never is: whoever gets one
    holds what lies there from then on, and with it the mapping."""

    def __init__(self):
        self.ranges: list[tuple[int, int, bool]] = []
        self.held: set[tuple[int, int]] = set()

    def is_file(self, address: int) -> bool:
        known = self._find(address)
        if known is None or known[2] and known[:2] not in self.held:
            self.ranges = _core.mappings()
            known = self._find(address)
        if known is None or not known[2]:
            return False
        self.held.add(known[:2])
        return True

    def _find(self, address: int) -> tuple[int, int, bool] | None:
        at = bisect_right(self.ranges, address, key=lambda entry: entry[0]) - 1
        return self.ranges[at] if at >= 0 and address < self.ranges[at][1] else None
