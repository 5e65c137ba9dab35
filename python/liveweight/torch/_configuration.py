"""What a model's configuration says of its quantization, as vLLM and Hugging Face spell it."""

from __future__ import annotations

from typing import Any

import torch

from . import _vllm

_SERIALIZED = ("is_checkpoint_torchao_serialized", "is_checkpoint_fp8_serialized", "is_checkpoint_quantized")


def _quantization_config(model_config: Any) -> Any:
    """vLLM's own object where the configuration is vLLM's, else what hangs on the configuration."""
    if _vllm.is_config(model_config):
        from vllm.config import LoadConfig
        from vllm.model_executor.model_loader.weight_utils import get_quant_config
        return get_quant_config(model_config, LoadConfig())
    for name in ("quant_config", "quantization_config"):
        found = getattr(model_config, name, None)
        if found is not None:
            return found
    return getattr(getattr(model_config, "hf_config", None), "quantization_config", None)


def quantization_case(model: torch.nn.Module, model_config: Any) -> str:
    """"none", "offline" (the checkpoint holds quantized weights) or "online" (they are quantized while loading)."""
    if getattr(model_config, "quantization", None) is None:
        return "none"
    holders = [_quantization_config(model_config), model_config]
    for holder in holders:
        for name in _SERIALIZED:
            said = holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)
            if said is not None:
                return "offline" if said else "online"
    quantized = any(hasattr(p, "__tensor_flatten__") or not p.is_floating_point() or p.element_size() == 1
                    for p in model.parameters())
    return "offline" if quantized else "online"


def torchao_configuration(model: torch.nn.Module, model_config: Any) -> Any:
    """The torchao configuration that the model is quantized with, or None where none is to be found."""
    holders = [_quantization_config(model_config), model_config,
               getattr(getattr(model, "config", None), "quantization_config", None)]
    for holder in holders:
        for name in ("torchao_config", "quant_type"):
            found = holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)
            if found is not None and type(found).__module__.startswith("torchao."):
                return found
        if type(holder).__module__.startswith("torchao."):
            return holder
    return None
