"""Threads that a loader starts, as SGLang's do: torch's dispatch modes are each thread's own."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ._patch import Patch
from ._recorder import Recording


def recorded_threads() -> AbstractContextManager[None]:
    """Within it, a thread that is started by a recorded one is recorded, too."""
    return _start_patch.used()


def _start(thread: threading.Thread) -> None:
    for mode in reversed(_get_current_dispatch_mode_stack()):
        if isinstance(mode, Recording) and mode.session.listens():
            _record(thread, mode)
    _start_patch.before(thread)


_start_patch = Patch(threading.Thread, "start", _start)


def _record(thread: threading.Thread, recording: Recording) -> None:
    run = thread.run

    def recorded_run():
        thread.__dict__.pop("run", None)  # which refers to it, and to those of models that are reloaded within a reload
        with recording.in_this_thread():
            run()
    thread.run = recorded_run
