"""The modules of a model, and what is in them, by their names."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def joined(prefix: str, name: str) -> str:
    """The full name of what a module of that name calls `name`; the model's own is empty."""
    return f"{prefix}.{name}" if prefix else name


def named_modules(module: torch.nn.Module, prefix: str = "", above: tuple[torch.nn.Module, ...] = ()) -> Iterator[
        tuple[str, torch.nn.Module]]:
    """Each by all of its names, but none within itself: of one that refers to its parent there would be no end."""
    if any(module is other for other in above):
        return
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None:
            yield from named_modules(child, joined(prefix, name), (*above, module))
