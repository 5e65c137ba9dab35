"""Threads that a loader starts, as SGLang's do: torch's dispatch modes are each thread's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ._recorder import Recording

_guard = threading.Lock()
_users = 0
_start_as_before = threading.Thread.start


@contextmanager
def recorded_threads() -> Iterator[None]:
    """Within it, a thread that is started by a recorded one is recorded, too."""
    global _users, _start_as_before
    with _guard:
        if _users == 0:
            _start_as_before, threading.Thread.start = threading.Thread.start, _start
        _users += 1
    try:
        yield
    finally:
        with _guard:
            _users -= 1
            if _users == 0:
                threading.Thread.start = _start_as_before


def _start(thread: threading.Thread) -> None:
    for mode in reversed(_get_current_dispatch_mode_stack()):
        if isinstance(mode, Recording) and mode.session.listens():
            _record(thread, mode)
    _start_as_before(thread)


def _record(thread: threading.Thread, recording: Recording) -> None:
    run = thread.run

    def recorded_run():
        thread.__dict__.pop("run", None)  # which refers to it, and to those of models that are reloaded within a reload
        with recording.in_this_thread():
            run()
    thread.run = recorded_run
