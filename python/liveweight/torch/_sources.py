"""Iterators of weights, and what runs beside them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import ContextManager

import torch

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
        session.lifetimes.give(tensor, lasts)
        yield name, tensor
        session.lifetimes.take_back()
        session.flush()


def rest_torch_threads() -> None:
    """Ends this thread's team of OpenMP threads, which spin for a while after each parallel operation of torch's, where ours
    want to run; the next operation makes new ones, in less time than that."""
    if _pause_openmp is not None:
        _pause_openmp(_SOFT)
