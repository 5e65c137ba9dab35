"""Storages that a loader empties, as FSDP does with what it gathered: torch dispatches no operation for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ._patch import Patch
from ._session import Session

_sessions: list[Session] = []


@contextmanager
def watched_storages(session: Session) -> Iterator[None]:
    """Within it, `session` has what came from a storage before that is resized."""
    with _resize_patch.used():
        _sessions.append(session)
        try:
            yield
        finally:
            _sessions.remove(session)


def _resize(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
    for session in list(_sessions):
        session.before_resize(storage)
    return _resize_patch.before(storage, size)


_resize_patch = Patch(torch.UntypedStorage, "resize_", _resize)
