"""A callback for Hugging Face's Trainer: a live model follows the one that is being trained."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from . import Model, UpdateReport

__all__ = ["PushCallback", "push"]

_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def push(live: Model, module: torch.nn.Module, version: str) -> UpdateReport:
    """One update with every parameter of `module`, whose names are the checkpoint's (wrappers' prefixes do not matter),
    rounded to the dtype that the live model takes. All or nothing; raises liveweight.Error."""
    dtype = _DTYPES[live.dtype]
    with live.update(version=version) as update:
        for name, parameter in module.named_parameters():
            update.put(name, parameter.detach().to(dtype))
    assert update.report is not None
    return update.report


class PushCallback(TrainerCallback):
    """Pushes the model's weights into a live one after every `every` optimiser steps, and at the end of training where the
    last step was not pushed. Versions are named "step N". `report` is the last UpdateReport.

    `model` is a liveweight.Model in this process. In distributed training only the main process pushes, and its parameters
    must be whole. What `push` raises goes through the Trainer."""

    def __init__(self, model: Model, every: int = 1):
        if not isinstance(model, Model):
            raise TypeError(f"model: expected a liveweight.Model (there is no server to push to yet), got {type(model).__name__}")
        if every < 1:
            raise ValueError(f"every: expected 1 or more, got {every}")
        self.live, self.every = model, every
        self.report: UpdateReport | None = None
        self._pushed_step: int | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, model: torch.nn.Module | None = None, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self._push(state, model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: torch.nn.Module | None = None, **kwargs: Any) -> None:
        if self._pushed_step != state.global_step:
            self._push(state, model)

    def _push(self, state: Any, model: torch.nn.Module | None) -> None:
        if model is None or not state.is_world_process_zero:
            return
        self.report = push(self.live, model, f"step {state.global_step}")
        self._pushed_step = state.global_step
