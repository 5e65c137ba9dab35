"""Parameters without memory that record where each `copy_` lands.

A loader gets stand-ins of the original shapes, dtypes, classes and attributes. What it copies into them, or into views of
them, goes to the session. Any other use of their values makes the session hold that one parameter as a real temporary, on
which the operation then runs."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan

import torch
from torch.utils._python_dispatch import (TorchDispatchMode, _get_current_dispatch_mode, _pop_mode, _pop_mode_temporarily,
                                          _push_mode)
from torch.utils._pytree import tree_map_only

from ._fallback import _error, has_memory, is_meta, plain_parts
from ._lifetimes import share_memory
from ._session import Session
from ._stand_in import parameter_class, view_class
from ._target import Target, lying_as

_aten = torch.ops.aten
_FILLS = {_aten.fill_.Scalar, _aten.zero_.default}
_WRITES_ALL = {_aten.copy_.default, _aten.fill_.Scalar, _aten.fill_.Tensor, _aten.zero_.default, _aten._foreach_copy_.default}
_SETS = {_aten.set_.source_Tensor, _aten.set_.source_Storage_storage_offset}


class Recorder:
    """Stands for a parameter while the loader runs. Tied parameters are one; its targets are where its bytes go."""

    def __init__(self, session: Session, facts, device: torch.device, kind: type, attributes: dict, targets: list[Target]):
        empty = torch.empty(facts.shape, dtype=facts.dtype, device="meta")
        self.session, self.facts, self.targets, self.device = session, facts, targets, device
        self.name = targets[0].name
        self.kind, self.attributes = kind, attributes
        self.parameter = self._dressed(parameter_class(kind, device), empty)
        self.parameter._liveweight_recorder = self
        for target in targets:
            target.stand_in = self.parameter
        self.storage = self.parameter.untyped_storage()  # held: its identity is how views are known

    def view(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of the parameter that says of itself what the parameter does."""
        view = torch.Tensor._make_subclass(view_class(self.device), tensor)
        view._liveweight_recorder = self
        return view

    def expose(self, view: torch.Tensor) -> torch.Tensor:
        """The memory behind a view, for somebody who reads and writes it past torch: a temporary from here to the end."""
        with self.session.lock:
            if not self.session.open:
                raise _error("unsupported", self.name, "the reload that this stand-in was of has ended")
            target, given = self.targets[0], self.given()
            if given is not None:
                self.session.placements.expose(target, given)
                return lying_as(given, view)
            self.leave_given()
            self.hold_to_the_end()
            self.session.materialize(target, reads=True)
            target.temporary.expose(view)
            self.hold_once()
            return target.temporary.like(view)

    def given(self) -> torch.Tensor | None:
        """The tensor that the loader gave as its data and that lies as it does, if there is one."""
        return self.session.placements.given(self.targets[0])

    def leave_given(self) -> None:
        """From here on the parameter is used by itself, not the tensor in its place, which does not lie as it would."""
        target = self.targets[0]
        if target.placed is not None and target.placed.dtype != self.facts.dtype:
            raise _error("unsupported", self.name, f"expected it to be used no more after its data became one of "
                                                   f"{target.placed.dtype}, where it was {self.facts.dtype}")
        again = self.session.placements.leave(target)
        for other in () if again is None else self.targets:
            self.session.put(other, 0, again)

    def hold_to_the_end(self) -> None:
        """Else it may be quantized before somebody's next write."""
        self.session.learned.in_whole.update(target.name for target in self.targets)

    def close(self) -> None:
        """Lets go of the module, the parameter and its loader, whoever still has a view."""
        self.targets, self.parameter, self.attributes = [], None, {}

    def hold_once(self) -> None:
        """A parameter that lives in several places gets the same temporary everywhere."""
        for target in self.targets[1:]:
            self.session.materialize(target)
            target.temporary = self.targets[0].temporary

    def rebuild(self, data: torch.Tensor) -> torch.nn.Parameter:
        """A parameter as it was before quantization, with `data`."""
        return self._dressed(self.kind, data)

    def _dressed(self, kind: type, data: torch.Tensor) -> torch.nn.Parameter:
        parameter = torch.Tensor._make_subclass(kind, data, False)
        for key, (value, bound) in self.attributes.items():
            parameter.__dict__[key] = types.MethodType(value, parameter) if bound else value
        return parameter

    def replace(self, value: torch.Tensor) -> None:
        """All elements come from a tensor of the loader's own; none where it is what the loader got, as in `param.data += x`."""
        name = self.name
        if self._is_all(value):
            return
        if is_meta(value):
            raise _error("unsupported", name, "expected a tensor with values, got one on the meta device, or a view of a "
                                              "parameter")
        if not has_memory(value):
            raise _error("unsupported", name, f"expected a tensor with memory of its own, got a {type(value).__name__}")
        if value.dtype != self.facts.dtype and not all(target.is_plain() for target in self.targets):
            raise _error("wrong_dtype", name, f"expected data of {self.facts.dtype}, got {value.dtype}: other values would be "
                                              "quantized")
        if value.shape != self.facts.shape:
            raise _error("wrong_shape", name, f"expected {tuple(self.facts.shape)}, got {tuple(value.shape)}")
        with self.session.lock:
            if self.session.open:
                self.session.place(self.targets, value.detach().resolve_conj().resolve_neg())

    def _is_all(self, value: torch.Tensor) -> bool:
        """Whether it is a view of all elements of this one, as they lie."""
        return (is_meta(value) and value.untyped_storage()._cdata == self.storage._cdata and value.is_contiguous()
                and (value.dtype, value.shape) == (self.facts.dtype, self.facts.shape))


@functools.cache
def _traits(func) -> tuple[tuple[tuple[int, str], ...], bool, bool]:
    """Which arguments an operator writes to, by place and name; whether what it returns shares memory with one; whether it
    makes another view of its first argument, in place."""
    schema = func._schema
    written = tuple((i, a.name) for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write)
    turns = torch.Tag.inplace_view in func.tags and all(a.name != "source" for a in schema.arguments)
    return written, any(result.alias_info is not None for result in schema.returns), turns


def _tensors(values):
    """Of an operator's arguments, which are tensors, lists of them and what is neither."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _is_nan(value: complex) -> bool:
    return isinstance(value, float) and isnan(value)


def _takes_to_meta(args, device) -> bool:
    """Whether tensors with values are to lose them."""
    return torch.device(device).type == "meta" and any(not is_meta(tensor) for tensor in _tensors(args))


class Recording(TorchDispatchMode):
    """Sends writes into recorders to the session; of writes into the module's other tensors it saves what was there."""

    def __init__(self, session: Session, recorders: list[Recorder], others: list[torch.Tensor], device: torch.device):
        super().__init__()
        self.session, self.device = session, device
        self.by_storage = {recorder.storage._cdata: recorder for recorder in recorders}
        self.others: dict[int, list[torch.Tensor]] = {}  # by storage, those that were not written yet
        for tensor in others:
            self.others.setdefault(tensor.untyped_storage()._cdata, []).append(tensor)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it nothing is looked at: what an iterator of weights does to make a tensor, a dozen operations, is none of
        the loader's, and being looked at takes longer than they do. Not where somebody else looks on, too."""
        if _get_current_dispatch_mode() is not self:
            yield
            return
        with _pop_mode_temporarily():
            yield

    @contextmanager
    def in_this_thread(self) -> Iterator[None]:
        """What a thread of the loader does within it is recorded beside what others do."""
        _push_mode(self)
        try:
            yield
        finally:
            _pop_mode()

    def close(self) -> None:
        """Lets go of the module, whatever threads of the loader's are still there."""
        for recorder in self.by_storage.values():
            recorder.close()
        self.by_storage.clear()
        self.others.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        places, makes_views, turns = _traits(func)
        if not self.session.listens() or turns and is_meta(args[0]):
            return func(*args, **kwargs)
        if makes_views and not places:
            return self._as_views(func(*args, **kwargs))
        if func is _aten.scalar_tensor.default and kwargs.get("device") is not None and kwargs["device"].type == "meta":
            return func(*args, **{**kwargs, "device": "cpu"})  # what `view[...] = 1` begins with; any device takes it
        if func in _SETS and self._record_set(*args):
            return args[0]
        if func is _aten.copy_.default and self._record_copy(*args[:2]):
            return args[0]
        written = list(_tensors(args[i] if i < len(args) else kwargs.get(name) for i, name in places))
        if kwargs.get("device") is not None and _takes_to_meta(args, kwargs["device"]):
            kwargs = {**kwargs, "device": self.device}  # the loader has that of a parameter's view
        if any(self._recorder(tensor) for tensor in _tensors((*args, *kwargs.values()))):
            with self.session.lock:
                return self._record(func, args, kwargs, written)
        self._before_write(written)
        result = func(*args, **kwargs)
        self._after_write(written)
        return result

    def _record(self, func, args, kwargs, written):
        if not self.session.open:
            return func(*args, **kwargs)
        if func in _FILLS and self._record_fill(args[0], args[1] if len(args) > 1 else 0):
            return args[0]
        self._before_write(written)
        result = self._run_on_temporaries(func, args, kwargs, written)
        self._after_write(written)
        return result

    def _as_views(self, made):
        """Of what an operator made that makes views, those of recorders are such, too."""
        if isinstance(made, (list, tuple)):
            return type(made)(map(self._as_views, made))
        recorder = self._recorder(made)
        return made if recorder is None else recorder.view(made)

    def _record_set(self, tensor: torch.Tensor, source, *place) -> bool:
        """A parameter is given another memory, as by an assignment to `data`; a view of it stays without."""
        recorder = self._recorder(tensor)
        if recorder is None or tensor is not recorder.parameter:
            return False
        recorder.replace(source if not place else torch.empty(0, dtype=tensor.dtype).set_(source, *place))
        return True

    def _recorder(self, tensor) -> Recorder | None:
        if not isinstance(tensor, torch.Tensor) or not is_meta(tensor):
            return None
        return self.by_storage.get(tensor.untyped_storage()._cdata)

    def _first_name(self, args, kwargs) -> str:
        """Of the parameters among an operator's arguments."""
        return next(recorder.name for recorder in map(self._recorder, _tensors((*args, *kwargs.values()))) if recorder)

    def _before_write(self, written) -> None:
        for tensor in (part for whole in written for part in plain_parts(whole) if not is_meta(part)):
            with self.session.lock:
                self.session.before_write(tensor)
                self._save_those_in(tensor)

    def _save_those_in(self, tensor: torch.Tensor) -> None:
        """The module's own tensors that lie where somebody is about to write."""
        storage = tensor.untyped_storage()._cdata
        others = self.others.get(storage)
        if others:
            within = [other for other in others if share_memory(other, tensor)]
            self.session.saved += [(other, other.clone()) for other in within]
            self.others[storage] = [other for other in others if all(other is not saved for saved in within)]

    def _after_write(self, written) -> None:
        with self.session.lock:
            for tensor in written:
                self.session.placements.after_write(tensor)

    def _record_copy(self, view: torch.Tensor, source: torch.Tensor) -> bool:
        recorder = self._recorder(view)
        if recorder is None or is_meta(source) or view.dtype != recorder.facts.dtype or not view.is_contiguous() or view.is_neg():
            return False
        if not has_memory(source):
            return False
        if source.shape != view.shape:
            source = source.expand(view.shape)
        with self.session.lock:
            if not self.session.open:
                return True
            if recorder.given() is not None:
                return False
            recorder.leave_given()
            if source.numel() > 0:
                for target in recorder.targets:
                    self.session.put(target, view.storage_offset(), source)
        return True

    def _given_instead(self, given: torch.Tensor, view: torch.Tensor, written) -> torch.Tensor:
        """What lies in the tensor that the loader gave a parameter as the view does in that."""
        instead = lying_as(given, view)
        if any(view is w for w in written):
            self._before_write([instead])
            self.session.placements.after_write(instead)
        return instead

    def _record_fill(self, view: torch.Tensor, value: float) -> bool:
        """Of what lies behind the elements that were copied just before, as vLLM pads vocabularies; or by NaN before anything
        came, which brings nothing."""
        recorder, start = self._recorder(view), view.storage_offset()
        if view.numel() == 0:
            return True
        if view.dtype != recorder.facts.dtype or recorder.given() is not None:
            return False
        if view.is_floating_point() and _is_nan(value) and all(map(self.session.has_nothing_of, recorder.targets)):
            return True
        if not view.is_contiguous():
            return False
        if not all(self.session.is_pending_before(target, start) for target in recorder.targets):
            return False
        recorder.leave_given()
        for target in recorder.targets:
            self.session.put(target, start, torch.full((1,), value, dtype=view.dtype).expand(view.numel()))
        return True

    def _run_on_temporaries(self, func, args, kwargs, written):
        writes_all = func in _WRITES_ALL
        empties = func is _aten.fill_.Scalar and _is_nan(args[1])
        elsewhere: list[torch.Tensor] = []  # of parameters that the loader gave another tensor for, which is used instead

        def real(tensor):
            recorder = self._recorder(tensor)
            if recorder is None:
                if is_meta(tensor) and all(tensor is not w for w in written):
                    name = self._first_name(args, kwargs)
                    raise _error("unsupported", name, f"expected tensors with values in {func}, got one on the meta device")
                return tensor
            target, given = recorder.targets[0], recorder.given()
            if given is not None:
                elsewhere.append(tensor)
                return self._given_instead(given, tensor, written)
            recorder.leave_given()
            self.session.materialize(target, reads=not writes_all or all(tensor is not w for w in written))
            if threading.get_ident() != self.session.thread:
                recorder.hold_to_the_end()
            if not writes_all:
                target.temporary.blank()
            return target.temporary.like(tensor)

        result = func(*tree_map_only(torch.Tensor, real, args), **tree_map_only(torch.Tensor, real, kwargs))
        for tensor in written:
            recorder = self._recorder(tensor)
            if recorder is None:
                continue
            target = recorder.targets[0]
            if all(tensor is not instead for instead in elsewhere):
                mark = target.temporary.mark if writes_all else target.temporary.mark_written
                mark(tensor)
                if empties and tensor.dtype == target.original.dtype:
                    target.temporary.unmark(tensor)
                recorder.hold_once()
            if result is not None and func._schema.returns and func._schema.returns[0].alias_info is not None:
                result = tensor
        return result
