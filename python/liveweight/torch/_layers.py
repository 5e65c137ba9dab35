"""vLLM's layers that are more than their quantized weights: experts repacked for a kernel, embeddings with a packed copy.

Each has a `quant_method` that makes all of that from the loaded weights, but only once and in place. We let it do so on a
twin of the layer that holds the new weights, before anything is committed, and keep what came out until then."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import torch

from . import _vllm
from ._fallback import check_fits, inner_tensors
from ._module_state import TABLES


def processed_layers(model: torch.nn.Module, plain: dict[str, bool]) -> dict[torch.nn.Module, Layer]:
    return {module: Layer(name, module, plain) for name, module in model.named_modules()
            if _vllm.processes(module) and not plain.get(name)}


def claim_targets(session, layers: list[Layer]) -> None:
    """Of layers that are no more than their quantized weights, and all of these native, nothing is claimed."""
    for layer in layers:
        native = _vllm.only_quantizes(layer.module) and all(map(session.destination, layer.targets.values()))
        if layer.targets and not native:
            session.layers.append(layer)
            for target in layer.targets.values():
                target.layers.append(layer)


class Layer:
    """One layer: the targets of its parameters, and for each how a parameter is made that looks as it did when it was built."""

    def __init__(self, name: str, module: torch.nn.Module, plain: dict[str, bool]):
        self.name, self.module = name, module
        self.plain = plain  # of layers processed before: whether that left their parameters alone and added nothing to them
        self.targets: dict[str, Any] = {}
        self.rebuild: dict[str, Callable[[torch.Tensor], torch.nn.Parameter]] = {}
        self.made: list[tuple[torch.Tensor, torch.Tensor]] = []  # live ones, and what is to be copied there at the commit
        self.attributes: dict[str, Any] = {}  # to be set then
        self.done = False

    def add(self, attribute: str, target, rebuild: Callable[[torch.Tensor], torch.nn.Parameter]) -> None:
        self.targets[attribute], self.rebuild[attribute] = target, rebuild

    def is_whole(self) -> bool:
        return all(target.is_held_whole() for target in self.targets.values())

    @torch.no_grad()
    def process(self) -> None:
        """Makes what the kernels want of the temporaries of all targets."""
        given = {attribute: self.rebuild[attribute](target.temporary.data) for attribute, target in self.targets.items()}
        before = None if self.name in self.plain else {key: value.detach().clone() for key, value in given.items()}
        twin = self._twin(given)
        twin.quant_method.process_weights_after_loading(twin)
        self._take(twin)
        if before is not None:
            same = all(twin._parameters.get(key) is given[key] and torch.equal(given[key].detach(), before[key]) for key in given)
            buffers = [(twin._buffers.get(key), value) for key, value in self.module._buffers.items() if value is not None]
            same &= all(made is not None and torch.equal(made, value) for made, value in buffers)
            self.plain[self.name] = same and all(map(_holds_nothing, self._changed(twin).values()))
        self.done = True

    def _twin(self, parameters: dict[str, torch.nn.Parameter]) -> torch.nn.Module:
        twin = copy.copy(self.module)
        for table in TABLES:
            twin.__dict__[table] = dict(self.module.__dict__[table])
        twin.__dict__["_parameters"] = dict(parameters)
        buffers = self.module._buffers.items()
        twin.__dict__["_buffers"] = {key: value if value is None else value.clone() for key, value in buffers}
        twin.__dict__.pop("_already_called_process_weights_after_loading", None)
        twin.quant_method = copy.copy(self.module.quant_method)
        if getattr(twin.quant_method, "moe_kernel", None) is not None:
            twin.quant_method.moe_kernel = None  # else it takes the weights for packed ones, and vLLM's reloads are wrong there
        return twin

    def _take(self, twin: torch.nn.Module) -> None:
        standing_in = {key: target.live for key, target in self.targets.items()}
        for key, live in {**self.module._parameters, **standing_in, **self.module._buffers}.items():
            if live is not None:
                made = twin._parameters.get(key, twin._buffers.get(key))
                check_fits(f"{self.name}.{key}", live, made)
                self.made += zip(inner_tensors(live), inner_tensors(made))
        for key, value in self._changed(twin).items():
            old = self.module.__dict__.get(key)
            if all(isinstance(one, torch.Tensor) for one in (value, old)) and (value.shape, value.dtype) == (old.shape, old.dtype):
                self.made.append((old.detach(), value.detach()))  # where captured graphs find it
            elif getattr(value, "__self__", None) is twin:
                self.attributes[key] = types.MethodType(value.__func__, self.module)
            else:
                self.attributes[key] = value

    def _changed(self, twin: torch.nn.Module) -> dict[str, Any]:
        ours = self.module.__dict__
        return {key: value for key, value in twin.__dict__.items()
                if key not in (*TABLES, "quant_method") and (key not in ours or value is not ours[key])}


def _holds_nothing(value: Any) -> bool:
    """Whether no weights can hide in it."""
    plain = value is None or isinstance(value, (bool, int, float, str))
    return plain or isinstance(value, types.FunctionType) and not value.__closure__
