"""Iterators of weights: what they yield, and how long it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

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
