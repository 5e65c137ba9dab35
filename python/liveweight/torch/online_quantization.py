"""vLLM's functions for reloading high-precision weights into a model that was quantized while loading, on the native core.

They are called as vLLM calls its own: `maybe_save_metadata_and_attributes_for_weight_reloading` after the first load and
before quantization; `support_quantized_model_reload_from_hp_weights` around `load_weights`. The loader sees parameters of
the original shapes, dtypes, classes and attributes, but no high-precision copy of the model is ever made: what it copies
into them goes straight into a native update. Quantized parameters keep identity and storage. A failure anywhere leaves
the module as it was and ready for the next try."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch

from . import _vllm
from ._adapters import TensorFacts
from ._configuration import quantization_case, torchao_configuration
from ._layers import claim_targets, processed_layers
from ._module_state import ModuleState
from ._modules import joined, named_modules
from ._recorder import Recorder, Recording
from ._session import Learned, Session
from ._sources import for_loader
from ._storages import watched_storages
from ._target import Target
from ._threads import recorded_threads

__all__ = ["maybe_save_metadata_and_attributes_for_weight_reloading", "partial_reload",
           "support_quantized_model_reload_from_hp_weights"]


_learned: WeakKeyDictionary[torch.nn.Module, Learned] = WeakKeyDictionary()


def maybe_save_metadata_and_attributes_for_weight_reloading(model: torch.nn.Module, model_config: Any) -> None:
    """Records shape, dtype, device, class and attributes of every parameter of a model that is about to be quantized
    online; once, at its first load. Does nothing where the configuration says that the model is not quantized, or that its
    checkpoint is quantized already."""
    if getattr(model, "weight_metadata_and_attr_saved", False) or quantization_case(model, model_config) != "online":
        return
    names: dict[int, list[str]] = {}
    places = _places(model)
    for name, (_, _, live) in places.items():
        names.setdefault(id(live), []).append(name)
    rebuild, attributes = {}, {}
    for name, *ties in names.values():
        module, attribute, live = places[name]
        before = _vllm.original(module, attribute, live)
        if before is None:
            continue
        rebuild[name] = {"shape": before.shape, "dtype": before.dtype, "device": live.device, "class": type(before),
                         "names": (name, *ties)}
        attributes[name] = {key: _unbind(value, before) for key, value in before.__dict__.items()}
    model.original_weights_rebuild_keys = rebuild
    model.recorded_weight_attr = attributes
    model._model_config = model_config
    model.weight_metadata_and_attr_saved = True


def _unbind(value: Any, parameter: torch.Tensor) -> tuple[Any, bool]:
    """A method bound to the parameter is kept as its function, to be bound to the parameter that takes its place."""
    if getattr(value, "__self__", None) is parameter and hasattr(value, "__func__"):
        return value.__func__, True
    return value, False


def support_quantized_model_reload_from_hp_weights(original_load_weights: Callable) -> Callable:
    """Decorates `load_weights(auto_weight_loader, weights, *, mapper=None) -> set[str]`. The first load, and every load of a
    model that was not recorded, pass through. Later ones quantize into the model in place and return what the loader does.

    Raises what the loader raises, or liveweight.Error: missing_tensor, non_finite, ... The model is then as it was."""

    @functools.wraps(original_load_weights)
    def patched_model_load_weights(auto_weight_loader: Any, weights: Iterable[tuple[str, torch.Tensor]], *,
                                   mapper: Any = None) -> set[str]:
        model = auto_weight_loader.module
        state = ModuleState(model)
        if not _is_reload(model):
            return original_load_weights(auto_weight_loader, weights, mapper=mapper)

        def load(session, recording):
            with _vllm.loads_plainly(model):
                return original_load_weights(auto_weight_loader, for_loader(session, weights, recording.paused), mapper=mapper)
        return _reload(model, state, load)

    return patched_model_load_weights


def _is_reload(model: torch.nn.Module) -> bool:
    """Whether the model was recorded before, or vLLM did that when it built it."""
    if _vllm.wants_reload(model):
        maybe_save_metadata_and_attributes_for_weight_reloading(model, model._model_config)
    elif hasattr(model, "_do_torchao_reload"):
        return False
    return getattr(model, "weight_metadata_and_attr_saved", False)


@contextmanager
def partial_reload(model: torch.nn.Module):
    """Within it, a reload may leave parameters out; they keep what they hold. Otherwise a missing one is an error."""
    model._liveweight_partial = True
    try:
        yield
    finally:
        del model._liveweight_partial


def _reload(model: torch.nn.Module, state: ModuleState, load: Callable[[Session, Recording], set[str]]) -> set[str]:
    partial = getattr(model, "_liveweight_partial", False)
    session = Session(torchao_configuration(model, model._model_config), partial, _learned.setdefault(model, Learned()))
    places = _places(model)
    recorders = _recorders(model, session, places)
    device = next((facts["device"] for facts in model.original_weights_rebuild_keys.values()), torch.device("cpu"))
    recording = Recording(session, [recorder for recorder, _ in recorders], state.plain_tensors(), device)
    try:
        _stand_in(recorders, places)
        with recording, recorded_threads(), watched_storages(session):
            updated = load(session, recording)
            _take_replacements(recorders, places)
        model.process_weights_after_loading_already_called = True
        session.prepare()
        session.commit([*_vllm.convolutions(model), *state.settle()])
    except BaseException:
        try:
            _roll_back(session, state)
        except BaseException:  # the handler of a signal, say: once more
            _roll_back(session, state)
            raise
        raise
    finally:
        recording.close()
        session.close()
    _vllm.derive_for_attention(model)
    return updated


def _roll_back(session: Session, state: ModuleState) -> None:
    """After a commit neither has anything left to put back."""
    try:
        session.undo()
    finally:
        state.restore()


def _places(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Module, str, torch.Tensor]]:
    """module, attribute and live tensor of every parameter, by each of its names."""
    places = {}
    for prefix, module in named_modules(model):
        for attribute, live in module._parameters.items():
            if live is not None:
                places[joined(prefix, attribute)] = module, attribute, live
    return places


def _recorders(model, session: Session, places) -> list[tuple[Recorder, list[str]]]:
    """One for each recorded parameter, and the names where it belongs. Where a tie was broken by quantizing one of its
    ends, the same elements go to every end."""
    recorders = []
    layers = processed_layers(model, session.learned.plain_layers)
    for name, facts in model.original_weights_rebuild_keys.items():
        names = [other for other in facts["names"] if other in places]
        original = TensorFacts(facts["shape"], facts["dtype"])
        ends: dict[int, Target] = {}
        for other in names:
            module, attribute, live = places[other]
            ends.setdefault(id(live), Target(other.rpartition(".")[0], module, attribute, live, original))
        if not ends:
            continue
        recorder = Recorder(session, original, facts["device"], facts["class"], model.recorded_weight_attr[name],
                            list(ends.values()))
        recorders.append((recorder, names))
        for module, attribute, live in (places[other] for other in names):
            if module in layers:
                layers[module].add(attribute, ends[id(live)], recorder.rebuild)
    claim_targets(session, list(layers.values()))
    for recorder, _ in recorders:
        for target in recorder.targets:
            session.add_target(target)
    return recorders


def _stand_in(recorders, places) -> None:
    """What the loader gets in the parameters' places."""
    for recorder, names in recorders:
        for module, attribute, _ in (places[name] for name in names):
            module._parameters[attribute] = recorder.parameter


def _take_replacements(recorders, places) -> None:
    """Loaders may also put a parameter of their own in a parameter's place."""
    for recorder, names in recorders:
        for module, attribute, _ in (places[name] for name in names):
            found = module._parameters.get(attribute)
            if found is not None and found is not recorder.parameter:
                recorder.replace(found)
