"""Storages that a loader empties, as FSDP does with what it gathered: torch dispatches no operation for that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ._session import Session

_guard = threading.Lock()
_sessions: list[Session] = []
_resize_as_before = torch.UntypedStorage.resize_


@contextmanager
def watched_storages(session: Session) -> Iterator[None]:
    """Within it, `session` has what came from a storage before that is resized."""
    global _resize_as_before
    with _guard:
        if not _sessions:
            _resize_as_before, torch.UntypedStorage.resize_ = torch.UntypedStorage.resize_, _resize
        _sessions.append(session)
    try:
        yield
    finally:
        with _guard:
            _sessions.remove(session)
            if not _sessions:
                torch.UntypedStorage.resize_ = _resize_as_before


def _resize(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
    for session in list(_sessions):
        session.before_resize(storage)
    return _resize_as_before(storage, size)
