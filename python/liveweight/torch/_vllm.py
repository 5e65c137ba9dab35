"""What vLLM itself knows of a model: what its parameters were before they were quantized, and whether it reloads it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

_RELOAD = "vllm.model_executor.model_loader.reload"


def is_config(model_config: Any) -> bool:
    return type(model_config).__module__.startswith("vllm.")


def processes(module: torch.nn.Module) -> bool:
    """Whether vLLM makes more of the module's weights, once they are loaded."""
    base = sys.modules.get("vllm.model_executor.layers.quantization.base_config")
    return base is not None and isinstance(getattr(module, "quant_method", None), base.QuantizeMethodBase)


def only_quantizes(module: torch.nn.Module) -> bool:
    """Whether that is no more than what torchao's `quantize_` makes of its weight."""
    return type(module.quant_method).__name__ == "TorchAOLinearMethod"


def original(module: torch.nn.Module, attribute: str, live: torch.Tensor) -> torch.Tensor | None:
    """The parameter as the model was built with it, on the meta device, where vLLM has a record of that; else as it is. None
    where it was made of others, after they were loaded."""
    layerwise = sys.modules.get(f"{_RELOAD}.layerwise")
    if layerwise is None or module not in layerwise.LAYERWISE_INFO:
        return live
    sanitize, meta = sys.modules[f"{_RELOAD}.sanitize"], sys.modules[f"{_RELOAD}.meta"]
    recorded = layerwise.LAYERWISE_INFO[module].restore_metadata[0].get(attribute)
    if recorded is None:
        return live if attribute in meta.SKIP_TENSORS else None
    found = sanitize.restore_layer_refs(meta.to_meta_tensor(recorded), module)
    while getattr(found.__dict__.get("weight_loader"), "__name__", None) == "online_process_loader":
        found.weight_loader = found.weight_loader.__wrapped__  # its own reloads leave theirs around it, which loads nothing now
    return found


def wants_reload(model: torch.nn.Module) -> bool:
    """Whether vLLM marked the model as one whose loads are reloads. It takes the mark away while it reloads it itself."""
    return getattr(model, "_do_torchao_reload", False)


def derive_for_attention(model: torch.nn.Module) -> None:
    """Attention layers make things of other layers' weights, once these are all there; vLLM does so after its reloads, too."""
    attention = sys.modules.get("vllm.model_executor.layers.attention")
    for layer in model.modules() if attention and is_config(model._model_config) else ():
        if attention.is_deferred_attention_layer(layer):
            layer.process_weights_after_loading(model._model_config.dtype)


def convolutions(model: torch.nn.Module) -> list[partial]:
    """Steps to take with the new weights: mixers of state spaces have a view of their convolution's weight as it was before
    vLLM packed that for a kernel of the CPU's."""
    mixers = [module for module in model.modules() if "conv_weights" in module._buffers and "conv1d" in module._modules]
    return [partial(mixer._buffers["conv_weights"].detach().copy_, mixer.conv1d._cpu_unpacked_conv_weight)
            for mixer in mixers if hasattr(mixer.conv1d, "_cpu_unpacked_conv_weight")]


@contextmanager
def loads_plainly(model: torch.nn.Module) -> Iterator[None]:
    """Within it, vLLM's own decorator lets loads of the model through."""
    marked = model.__dict__.get("_do_torchao_reload")
    if marked is None:
        yield
        return
    model._do_torchao_reload = False
    try:
        yield
    finally:
        model._do_torchao_reload = marked
