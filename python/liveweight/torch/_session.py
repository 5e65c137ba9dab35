"""One reload of one module: pieces of high-precision tensors in, and at the end all of the module's bytes at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from .. import _core
from ._adapters import Destination, find_destination
from ._fallback import _error, check_writable, config_for, inner_tensors, requantize
from ._layers import Layer
from ._lifetimes import Lifetimes, Placements, share_memory
from ._sources import rest_torch_threads
from ._target import Pieces, Target, is_finite

_DTYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
_PENDING_BYTES = 256 << 20


@dataclass
class Learned:
    """Of a model, by its reloads."""
    in_whole: set[str] = field(default_factory=set)  # parameters that a temporary must hold from the start to the end
    plain_layers: dict[str, bool] = field(default_factory=dict)  # whether vLLM's processing makes no more of a layer


class Session:
    def __init__(self, config=None, partial: bool = False, learned: Learned | None = None):
        self.config, self.partial = config, partial
        self.learned = learned or Learned()
        self.update = _core.BuffersUpdate()
        self.targets: list[Target] = []
        self.held: list[Target] = []  # those that a temporary was made for
        self.layers: list[Layer] = []
        self.pending: dict[Target, Pieces] = {}
        self.pending_bytes = 0
        self.read_later: set[int] = set()  # storages that they are read from
        self.lock = threading.RLock()  # a loader may have several threads; held around what they do here, and by `flush`
        self.thread = threading.get_ident()
        self.open = True  # until all should have come
        self.flushing: int | None = None  # the thread whose operations are the session's own, not the loader's
        self.lifetimes = Lifetimes()
        self.placements = Placements()
        self.saved: list[tuple[torch.Tensor, torch.Tensor]] = []  # what a loader wrote to itself, and how that was before

    def add_target(self, target: Target) -> Target:
        found = None if target.layers else self.destination(target)
        if found is not None:
            target.destination = found
            rows = target.original.shape.numel() // target.cols
            dtype = _DTYPES.get(target.original.dtype, str(target.original.dtype))
            target.index = self.update.add_target(target.name, found.scheme, dtype, rows, target.cols, found.codes, found.scales,
                                                  found.zero_points)
            self.lifetimes.written.update(part.untyped_storage()._cdata for part in found.parts())
        self.targets.append(target)
        return target

    def destination(self, target: Target) -> Destination | None:
        config = config_for(self.config, target.module_name, target.attribute)
        return find_destination(target.module, target.attribute, target.live, target.original, config)

    def listens(self) -> bool:
        """Whether what this thread does is the loader's."""
        return self.open and self.flushing != threading.get_ident()

    # Pieces -----------------------------------------------------------------------------------------------------

    def put(self, target: Target, start: int, source: torch.Tensor) -> None:
        """Elements [start, start + n) of the flattened parameter, as they are now."""
        self.placements.forget(target)
        source = source.resolve_neg()
        native = target.index is not None and target.name not in self.learned.in_whole
        waits = target.temporary is None and native and self._by_rows(target, start, source)
        if not waits or not self.pending.setdefault(target, Pieces()).add(start, self._kept(target, source)):
            self.materialize(target)
            target.temporary.fill(start, source)
            return
        self.pending_bytes += source.numel() * source.element_size()
        if self.pending_bytes > _PENDING_BYTES and self.flushing is None:
            self.flush()

    def place(self, targets: list[Target], tensor: torch.Tensor) -> None:
        """All of a parameter's elements, in a tensor that takes its place."""
        exposed = self.placements.is_exposed(targets[0], tensor)
        for target in targets:
            self.put(target, 0, tensor)
        self.placements.add(targets, tensor, exposed)

    def _kept(self, target: Target, source: torch.Tensor) -> torch.Tensor:
        """`source`, to be read at the next `flush`; a copy of it where it may be another by then."""
        if self.lifetimes.stays(source):
            self.read_later.add(source.untyped_storage()._cdata)
            return source.detach()  # which goes on to have this data, whatever the loader makes `data` of its own one
        return torch.empty(source.shape, dtype=target.original.dtype).copy_(source.detach())

    def before_write(self, tensor: torch.Tensor) -> None:
        """The loader is about to write there. What came from there must be as it was."""
        storage = tensor.untyped_storage()._cdata
        for pieces in self.pending.values() if storage in self.read_later else ():
            pieces.copy_those_in(tensor)
        for target in self.targets if storage in self.lifetimes.lasting else ():
            if any(share_memory(source, tensor) for _, source in target.borrowed):
                self._take(target)

    def before_resize(self, storage: torch.UntypedStorage) -> None:
        """Somebody is about to, and may free it."""
        if storage._cdata in self.read_later or storage._cdata in self.lifetimes.lasting:
            self._on_its_own(lambda: self.before_write(torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)))

    def _take(self, target: Target) -> None:
        """Quantizes now what was borrowed for it."""
        self._undo_within(target)
        rest_torch_threads()
        self.update.take_borrowed(target.index)
        target.borrowed, target.staged = [], True

    def is_pending_before(self, target: Target, start: int) -> bool:
        return target in self.pending and self.pending[target].ends_at(start)

    def has_nothing_of(self, target: Target) -> bool:
        return target not in self.pending and not target.is_made() and self._is_untouched(target)

    @staticmethod
    def _by_rows(target: Target, start: int, source: torch.Tensor) -> bool:
        return start % target.cols == 0 and source.numel() % target.cols == 0

    def flush(self, last: bool = False) -> None:
        """Gives what is pending to the native update, and quantizes temporaries that are whole."""
        self._on_its_own(self._flush, last)

    def _on_its_own(self, step: Callable, *arguments) -> None:
        """Within `step`, this thread's operations are not the loader's."""
        with self.lock:
            before, self.flushing = self.flushing, threading.get_ident()
            try:
                step(*arguments)
            finally:
                self.flushing = before

    def _flush(self, last: bool) -> None:
        for targets, tensor in self.placements.take_rewritten():
            self.place(targets, tensor)
        pending, self.pending, self.pending_bytes = self.pending, {}, 0
        self.read_later.clear()
        for target, pieces in pending.items():
            if not last and self._may_be_filled(target, *(source for _, source in pieces)):
                self.pending[target] = pieces
                self.read_later.update(source.untyped_storage()._cdata for _, source in pieces)
                continue
            for start, source in pieces:
                if target.temporary is None:
                    self._give(target, start, source)
                else:
                    target.temporary.fill(start, source)
        for target in self.held:
            if (last or not self._may_come_back(target)) and target.is_held_whole():
                if last or not self._may_be_filled(target, target.temporary.data):
                    self._finish(target)
        self.held = [target for target in self.held if target.temporary is not None]

    @staticmethod
    def _may_be_filled(target: Target, *sources: torch.Tensor) -> bool:
        """Whether the loader gave the parameter memory that it has not written yet."""
        return target.placed is not None and not all(map(is_finite, sources))

    def _may_come_back(self, target: Target) -> bool:
        """Whether the loader did so before, to this parameter or another one of its layer."""
        return any(other.name in self.learned.in_whole for other in target.with_layers())

    def _give(self, target: Target, start: int, source: torch.Tensor) -> None:
        lasting = source.dtype == target.original.dtype and source.is_contiguous() and self.lifetimes.lasts(source)
        converted = source if lasting else source.detach().to(device="cpu", dtype=target.original.dtype).contiguous()
        if not self._put_rows(target, start // target.cols, converted, lasting):
            self.materialize(target)
            target.temporary.fill(start, source)
        elif lasting:
            target.borrowed.append((start, source))
        else:
            target.staged = True

    def _put_rows(self, target: Target, row: int, source: torch.Tensor, lasting: bool) -> bool:
        """The update compares them with what lives, which until the end must be as it was."""
        self._undo_within(target)
        if not lasting:
            rest_torch_threads()
        return self.update.put(target.index, row, source, lasting)

    # Temporaries ------------------------------------------------------------------------------------------------

    def materialize(self, target: Target, reads: bool = False) -> None:
        """From here on the parameter is held whole, in high precision. `reads`: what came before will be read."""
        if target.temporary is not None:
            if reads and target.lost and not target.temporary.is_whole():
                raise _came_back(target)
            return
        if target.layers and target.is_made():
            self.learned.in_whole.add(target.name)
            raise _came_back(target)
        if target.made is not None or target.staged:
            self.learned.in_whole.add(target.name)
            target.lost = True
            if reads or target.index is not None and target.staged and not self.update.is_whole(target.index):
                raise _came_back(target)
        target.hold()
        self.held.append(target)
        target.made, target.staged = None, False
        earlier, target.borrowed = target.borrowed, []
        if target.index is not None:
            self.update.clear(target.index)
        for start, source in earlier:
            target.temporary.fill(start, source)
        for start, source in self.pending.pop(target, ()):
            target.temporary.fill(start, source)

    def _finish(self, target: Target) -> None:
        if target.layers:
            self._process([layer for layer in target.layers if not layer.done and layer.is_whole()])
            return
        temporary, target.temporary = target.temporary, None
        if target.index is not None:
            self._put_rows(target, 0, temporary.data.cpu(), False)
        else:
            temporary.check_finite(target.name)
            target.made = requantize(target.module, target.module_name, target.attribute, target.live, temporary.data, self.config)
        target.staged = True

    def _process(self, layers: list[Layer]) -> None:
        for layer in layers:
            for target in layer.targets.values():
                target.temporary.check_finite(target.name)
            layer.process()
            for target in layer.targets.values():
                if target.is_made():
                    target.temporary = None

    # The end ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Proves that everything came, is finite, and can be written."""
        self._close_to_loaders()
        self.flush(last=True)
        missing = [target for target in self.targets if not self._is_whole(target) and not self._is_left_out(target)]
        if missing:
            target = missing[0]
            if target.lost:
                raise _came_back(target)
            came = "none" if self._is_untouched(target) else "some"
            unseen = came == "none" and target.stand_in is not None and target.stand_in._version > 0
            hint = "; what an iterator of weights, or a thread from before, writes itself is not seen" if unseen else ""
            error = _error("missing_tensor", target.name, f"expected {target.original.shape.numel()} elements, got {came} (something "
                                                          f"of {len(missing)} tensors is missing{hint})")
            error.names = [target.name for target in missing]
            raise error
        self.update.prepare(self.partial)
        for name, live in [(target.name, target.live) for target in self.targets if target.made is not None] + [
                (layer.name, live) for layer in self.layers for live, _ in layer.made]:
            check_writable(name, live)

    def _is_whole(self, target: Target) -> bool:
        if target.original.shape.numel() == 0:
            return True
        if target.temporary is not None:
            return target.temporary.is_whole()  # but others of its layer are missing
        return target.is_made() if target.index is None else self.update.is_whole(target.index)

    def _is_untouched(self, target: Target) -> bool:
        nothing_held = target.temporary is None or target.temporary.is_untouched()
        return nothing_held and (target.index is None or not self.update.touched(target.index))

    def _is_left_out(self, target: Target) -> bool:
        """As a partial reload may, though of a layer that makes one thing of several parameters only all of them."""
        return self.partial and all(map(self._is_untouched, target.with_layers()))

    def commit(self, and_then: Sequence[partial] = ()) -> None:
        """Writes everything, and takes the steps `and_then`. All of it is one call of a C function that calls others, as those
        must be: the handler of a signal, which may raise, runs before or after it, but never within."""
        for target in self.targets:
            if target.index is not None and self.update.touched(target.index) and self._undo_within(target):
                self.update.distrust(target.index)
        layers = [layer for layer in self.layers if layer.done]
        steps = [partial(self.update.commit)]
        steps += [partial(ours.copy_, theirs) for ours, theirs in self._copies(layers)]
        steps += [partial(layer.module.__dict__.update, layer.attributes) for layer in layers]
        steps += [partial(self.saved.clear), *and_then]
        with torch._C.DisableTorchFunction():  # else modes of the caller's run, in Python
            deque(map(partial.__call__, steps), maxlen=0)

    def _copies(self, layers: list[Layer]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What was made of temporaries, and where it belongs."""
        made = [target for target in self.targets if target.made is not None]
        return [pair for target in made for pair in zip(inner_tensors(target.live), inner_tensors(target.made))] + [
            pair for layer in layers for pair in layer.made]

    def undo(self) -> None:
        """What the loader wrote into the module's own tensors."""
        self._close_to_loaders()
        for tensor, before in self.saved:
            tensor.copy_(before)

    def _close_to_loaders(self) -> None:
        """What threads that are still running copy from here on comes to nothing."""
        with self.lock:
            self.open = False

    def _undo_within(self, target: Target) -> bool:
        """Whether the loader had written there."""
        storages = {part.untyped_storage()._cdata for part in target.destination.parts()} if self.saved else ()
        within = [(tensor, before) for tensor, before in self.saved if tensor.untyped_storage()._cdata in storages]
        for tensor, before in within:
            tensor.copy_(before)
        return bool(within)

    def close(self) -> None:
        """Lets go of all sources and buffers, whoever still holds the session."""
        for target in self.targets:
            target.temporary = target.made = target.placed = target.stand_in = None
            target.borrowed = []
        del self.update
        self.targets, self.held, self.layers, self.pending = [], [], [], {}
        self.lifetimes, self.placements, self.saved = Lifetimes(), Placements(), []


def _came_back(target: Target) -> _core.Error:
    return _error("unsupported", target.name, "the loader came back to a parameter that was quantized already; the next reload "
                                              "will hold it whole, to the end")
