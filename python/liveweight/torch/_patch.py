"""An attribute of torch's or Python's own that is another one for as long as anybody needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Patch:
    """Puts `replacement` in the place of `owner`'s attribute `name`, from the first use that begins to the last that ends.
    Any number of threads may use it at once.
    """

    def __init__(self, owner: Any, name: str, replacement: Callable) -> None:
        self.before: Callable = getattr(owner, name)  # what is replaced, as it was when the first use began
        self._owner, self._name, self._replacement = owner, name, replacement
        self._guard = threading.Lock()
        self._users = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        with self._guard:
            if self._users == 0:
                self.before = getattr(self._owner, self._name)
                setattr(self._owner, self._name, self._replacement)
            self._users += 1
        try:
            yield
        finally:
            with self._guard:
                self._users -= 1
                if self._users == 0:
                    setattr(self._owner, self._name, self.before)
