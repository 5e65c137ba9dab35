"""Iterators of weights: what they yield, and how long it lasts."""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import ContextManager

import torch

from .. import _core
from ._fallback import _error

_CONTAINERS = tuple(type(kind) for kind in (
    {}.items(), iter({}.items()), [], iter([]), (), iter(())))
_pause_openmp = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
_SOFT = 1  # omp_pause_soft: what threads keep for themselves is kept


def hold_container(session, weights: Iterable[tuple[str, torch.Tensor]],
                   asking: Callable[[], ContextManager] = nullcontext) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the weights, giving each to the native update before the next one is asked for, which is done within
    `asking()`. Where they come straight out of a dictionary, list or tuple, that holds them until the end, and so need we
    not copy."""
    lasts = type(weights) in _CONTAINERS
    weights, end = iter(weights), object()
    while True:
        with nullcontext() if lasts else asking():
            item = next(weights, end)
        if item is end:
            return
        name, tensor = item
        if tensor.is_meta:
            raise _error("unsupported", name, "expected a tensor with values, got one on the meta device")
        session.given = tensor.untyped_storage()._cdata
        if lasts:
            session.lasting.add(session.given)
        yield name, tensor
        session.flush()
        session.given = None


def rest_torch_threads() -> None:
    """Ends this thread's team of OpenMP threads, which spin for a while after each parallel operation of torch's, where ours
    want to run; the next operation makes new ones, in less time than that."""
    if _pause_openmp is not None:
        _pause_openmp(_SOFT)


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
