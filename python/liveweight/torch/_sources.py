"""Weights as they are given, and what runs beside whoever makes them."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterable, Iterator
from contextlib import nullcontext
from typing import Any, ContextManager

import torch

from ._fallback import _error, is_meta

_VIEWS = tuple(type(kind().items()) for kind in (dict, OrderedDict))
_CONTAINERS = (list, tuple, *_VIEWS, *(type(iter(items)) for items in ([], (), {}.items(), OrderedDict().items())))
_pause_openmp = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
_SOFT = 1  # omp_pause_soft: what threads keep for themselves is kept


def are_kept(weights: Iterable) -> bool:
    """Whether they come straight out of a dictionary, list or tuple, which holds them to the end, so that we need not copy."""
    return type(weights) in _CONTAINERS


def hold(session, weights: Iterable, lasts: bool, asking: Callable[[], ContextManager] = nullcontext) -> Iterator:
    """Yields the weights, giving each to the native update before the next one is asked for, which is done within
    `asking()`. What is no name and tensor is passed on. `lasts`: tensors stay as they are to the end."""
    weights, end = iter(weights), object()
    while True:
        with nullcontext() if lasts else asking():
            item = next(weights, end)
        if item is end:
            return
        tensor = _tensor_of(item)
        if tensor is not None:
            session.lifetimes.give(tensor, lasts)
        yield item
        session.lifetimes.take_back()
        session.flush()


def _tensor_of(item: Any) -> torch.Tensor | None:
    if not isinstance(item, (tuple, list)) or len(item) != 2 or not isinstance(item[1], torch.Tensor):
        return None
    if is_meta(item[1]):
        raise _error("unsupported", item[0], "expected a tensor with values, got one on the meta device")
    return item[1]


def for_loader(session, weights: Any, asking: Callable[[], ContextManager]) -> Any:
    """What a loader gets in the place of `weights`: it can do with that what it could with them, but what it goes over is held.
    Containers that are not known here it gets as they are; what it copies from those is copied."""
    if isinstance(weights, Iterator):
        return hold(session, weights, are_kept(weights), asking)
    if type(weights) in _VIEWS:
        return _HeldItems(session, weights)
    if type(weights) in _HELD:
        _keep(session, weights.items() if isinstance(weights, dict) else weights)
        held = _HELD[type(weights)](weights)
        held.__dict__.update(getattr(weights, "__dict__", {}), session=session)  # torch has what it calls metadata there
        return held
    return weights if hasattr(weights, "__getitem__") else _HeldIterable(session, weights, asking)


def _keep(session, items: Iterable) -> None:
    """The loader may take them in other ways than by going over them, and put others in their places."""
    for tensor in filter(lambda found: found is not None, map(_tensor_of, items)):
        session.lifetimes.keep(tensor)


def _go_over(session, kept: Iterable) -> Iterator:
    for item in kept:
        yield item
        session.flush()


class _HeldIterable:
    def __init__(self, session, weights: Iterable, asking: Callable[[], ContextManager]):
        self.session, self.weights, self.asking = session, weights, asking

    def __iter__(self) -> Iterator:
        return hold(self.session, self.weights, False, self.asking)


class _HeldList(list):
    def __iter__(self) -> Iterator:
        return _go_over(self.session, super().__iter__())


class _HeldTuple(tuple):
    def __iter__(self) -> Iterator:
        return _go_over(self.session, super().__iter__())


class _HeldItems(ItemsView):
    def __init__(self, session, items: ItemsView):
        super().__init__(items.mapping)
        self.session, self.inner = session, items
        _keep(session, items)

    def __iter__(self) -> Iterator:
        return _go_over(self.session, self.inner)

    def __reversed__(self) -> Iterator:
        return _go_over(self.session, reversed(self.inner))


class _HeldDict(dict):
    def items(self) -> ItemsView:
        return _HeldItems(self.session, super().items())


class _HeldOrderedDict(OrderedDict):
    session = None  # of copies, which are the loader's own

    def items(self) -> ItemsView:
        return super().items() if self.session is None else _HeldItems(self.session, super().items())


_HELD = {list: _HeldList, tuple: _HeldTuple, dict: _HeldDict, OrderedDict: _HeldOrderedDict}


def rest_torch_threads() -> None:
    """Ends this thread's team of OpenMP threads, which spin for a while after each parallel operation of torch's, where ours
    want to run; the next operation makes new ones, in less time than that."""
    if _pause_openmp is not None:
        _pause_openmp(_SOFT)
