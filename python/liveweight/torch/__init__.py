"""Reloads high-precision weights into torch modules that hold them quantized, in place, all or nothing.

`reload` is for any module; `liveweight.torch.online_quantization` for loaders such as vLLM's, which want to see
parameters. `register_adapter` teaches both about classes of quantized parameters that are not known here."""

from ._adapters import Adapter, Destination, TensorFacts, register_adapter
from ._reload import reload

__all__ = ["Adapter", "Destination", "TensorFacts", "register_adapter", "reload"]
