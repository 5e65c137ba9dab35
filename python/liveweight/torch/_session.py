"""One reload of one module: pieces of high-precision tensors in, and at the end all of the module's bytes at once."""

from __future__ import annotations

import torch

from .. import _core
from ._adapters import TensorFacts, find_destination
from ._fallback import _error, config_for, inner_tensors, requantize
from ._sources import Mappings

_DTYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
_PENDING_BYTES = 256 << 20
_WORTH_BORROWING = 1 << 20


class Target:
    """A parameter of the module as it lives, and what has come for it."""

    def __init__(self, module_name, module, attribute, live, original: TensorFacts):
        self.module_name, self.module, self.attribute, self.live, self.original = module_name, module, attribute, live, original
        self.name = f"{module_name}.{attribute}" if module_name else attribute
        self.cols = original.shape[-1] if len(original.shape) > 1 else 1
        self.index: int | None = None  # in the native update; None for those that only a temporary can hold
        self.temporary: torch.Tensor | None = None
        self.mask: torch.Tensor | None = None  # which elements of the temporary have come
        self.made: torch.Tensor | None = None  # what the fallback made of it
        self.borrowed: list = []  # pieces that were given away but can be read again
        self.staged = False  # pieces were given away that cannot

    def view(self, of: torch.Tensor, start: int, count: int) -> torch.Tensor:
        return of.view(-1)[start:start + count]


class Session:
    def __init__(self, config=None, partial: bool = False, in_whole: set[str] | None = None):
        self.config, self.partial = config, partial
        self.in_whole = in_whole if in_whole is not None else set()  # names that a temporary must hold from the start
        self.update = _core.BuffersUpdate()
        self.targets: list[Target] = []
        self.pending: list[tuple[Target, int, torch.Tensor]] = []
        self.pending_bytes = 0
        self.busy = False  # the session's own operations, not the loader's, are running
        self.lasting: set[int] = set()  # storages that somebody else keeps until the end
        self.mapped: list[torch.UntypedStorage] = []  # those of `lasting` that are mapped files
        self.mappings = Mappings()

    def add_target(self, target: Target) -> Target:
        config = config_for(self.config, target.module_name, target.attribute)
        found = find_destination(target.module, target.attribute, target.live, target.original, config)
        if found is not None:
            rows = target.original.shape.numel() // max(target.cols, 1)
            dtype = _DTYPES.get(target.original.dtype, str(target.original.dtype))
            target.index = self.update.add_target(target.name, found.scheme, dtype, rows, target.cols, found.codes, found.scales,
                                                  found.zero_points)
        self.targets.append(target)
        return target

    # Pieces -----------------------------------------------------------------------------------------------------

    def put(self, target: Target, start: int, source: torch.Tensor) -> None:
        """Elements [start, start + n) of the flattened parameter. `source` is read at the next `flush`."""
        native = target.index is not None and target.name not in self.in_whole
        if not native or not self._by_rows(target, start, source):
            self.materialize(target)
        if target.temporary is not None:
            self._fill(target, start, source)
            return
        self.pending.append((target, start, source))
        self.pending_bytes += source.numel() * source.element_size()
        if self.pending_bytes > _PENDING_BYTES:
            self.flush()

    @staticmethod
    def _by_rows(target: Target, start: int, source: torch.Tensor) -> bool:
        return start % target.cols == 0 and source.numel() % target.cols == 0

    def flush(self) -> None:
        """Gives what is pending to the native update, and quantizes temporaries that are whole."""
        self.busy = True
        try:
            self._flush()
        finally:
            self.busy = False

    def _flush(self) -> None:
        pending, self.pending, self.pending_bytes = self.pending, [], 0
        for target, start, source in pending:
            if target.temporary is None:
                self._give(target, start, source)
            else:
                self._fill(target, start, source)
        for target in self.targets:
            if target.temporary is not None and bool(target.mask.all()):
                self._finish(target)

    def _give(self, target: Target, start: int, source: torch.Tensor) -> None:
        lasting = source.dtype == target.original.dtype and source.is_contiguous() and self._lasts(source)
        converted = source.detach().to(device="cpu", dtype=target.original.dtype).contiguous()
        if not self.update.put(target.index, start // max(target.cols, 1), converted, lasting):
            self.materialize(target)
            self._fill(target, start, source)
        elif lasting:
            target.borrowed.append((start, source))
        else:
            target.staged = True

    def _lasts(self, source: torch.Tensor) -> bool:
        """Whether the bytes stay where and as they are until the end: a mapped file, or a container of the caller's."""
        if source.device.type != "cpu":
            return False
        storage = source.untyped_storage()
        if storage._cdata in self.lasting:
            return True
        if source.numel() * source.element_size() < _WORTH_BORROWING or not self.mappings.is_file(source.data_ptr()):
            return False
        self.lasting.add(storage._cdata)
        self.mapped.append(storage)  # held, so that no other storage can have its identity
        return True

    # Temporaries ------------------------------------------------------------------------------------------------

    def materialize(self, target: Target, reads: bool = False) -> None:
        """From here on the parameter is held whole, in high precision. `reads`: what came before will be read."""
        if target.temporary is not None:
            return
        if target.made is not None or target.staged:
            self.in_whole.add(target.name)
            if reads or target.index is not None and target.staged and not self.update.is_whole(target.index):
                raise _error("unsupported", target.name, "the loader came back to a parameter whose elements were quantized "
                                                         "already; the next reload will hold it whole")
        device = inner_tensors(target.live)[0].device
        target.temporary = torch.empty(target.original.shape, dtype=target.original.dtype, device=device)
        target.mask = torch.zeros(target.original.shape, dtype=torch.bool, device=device)
        target.made, target.staged = None, False
        earlier, target.borrowed = target.borrowed, []
        if target.index is not None:
            self.update.clear(target.index)
        for start, source in earlier:
            self._fill(target, start, source)
        for owner, start, source in self.pending:
            if owner is target:
                self._fill(target, start, source)
        self.pending = [piece for piece in self.pending if piece[0] is not target]

    def _fill(self, target: Target, start: int, source: torch.Tensor) -> None:
        target.view(target.temporary, start, source.numel()).copy_(source.detach().reshape(-1))
        target.view(target.mask, start, source.numel()).fill_(True)

    def _finish(self, target: Target) -> None:
        temporary, target.temporary, target.mask = target.temporary, None, None
        if target.index is not None:
            self.update.put(target.index, 0, temporary.cpu(), False)
        else:
            if temporary.is_floating_point() and not bool(torch.isfinite(temporary).all()):
                raise _error("non_finite", target.name, "expected finite values")
            target.made = requantize(target.module, target.module_name, target.attribute, target.live, temporary, self.config)
        target.staged = True

    # The end ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Proves that everything came, and is finite."""
        self.flush()
        missing = [target for target in self.targets
                   if not self._is_whole(target) and not (self.partial and self._is_untouched(target))]
        if missing:
            target = missing[0]
            came = "none" if self._is_untouched(target) else "some"
            error = _error("missing_tensor", target.name, f"expected {target.original.shape.numel()} elements, got {came} (something "
                                                          f"of {len(missing)} tensors is missing)")
            error.names = [target.name for target in missing]
            raise error
        self.update.prepare(self.partial)

    def _is_whole(self, target: Target) -> bool:
        if target.temporary is not None:
            return False
        return target.made is not None if target.index is None else self.update.is_whole(target.index)

    def _is_untouched(self, target: Target) -> bool:
        return target.temporary is None and (target.index is None or not self.update.touched(target.index))

    def commit(self) -> None:
        self.update.commit()
        with torch.no_grad():
            for target in self.targets:
                if target.made is not None:
                    for ours, theirs in zip(inner_tensors(target.live), inner_tensors(target.made)):
                        ours.copy_(theirs)

    def close(self) -> None:
        """Lets go of all sources and buffers, whoever still holds the session."""
        for target in self.targets:
            target.temporary = target.mask = target.made = None
            target.borrowed = []
        self.update = _core.BuffersUpdate()
        self.targets, self.pending, self.mapped, self.lasting = [], [], [], set()
