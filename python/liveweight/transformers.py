"""A callback for Hugging Face's Trainer: a live model follows the one that is being trained."""

from __future__ import annotations

import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from . import DeltaWriter, Model, UpdateReport

__all__ = ["PushCallback", "push", "VersionsDirectory"]

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


class VersionsDirectory:
    """A directory of versions, as `liveweight follow` takes them: the first push of this object is a whole checkpoint, in
    bf16, the others are deltas, each on the one before. A version is there whole, or not at all. Keeps the last version's
    weights in memory."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self._step: int | None = None
        self._weights: dict[str, torch.Tensor] = {}

    def push(self, module: torch.nn.Module, step: int) -> Path:
        """Writes `step_N`, a number that the directory has none of yet, and gives its path. Raises OSError or
        liveweight.Error; the next push is then on the version before."""
        path = self.directory / f"step_{step}"
        weights = {name: parameter.detach().to("cpu", torch.bfloat16, copy=True)
                   for name, parameter in module.named_parameters()}
        if self._step is None:
            self._write_whole(path, module, weights)
        else:
            with DeltaWriter(path, version=str(step), base_version=str(self._step)) as writer:
                for name, tensor in weights.items():
                    writer.add(name, self._weights[name], tensor)
        self._step, self._weights = step, weights
        return path

    @staticmethod
    def _write_whole(path: Path, module: Any, weights: dict[str, torch.Tensor]) -> None:
        if path.exists():
            raise FileExistsError(f"{path} is there already: expected a directory of versions without it")
        beside = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        module.config.save_pretrained(beside)
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, beside / "model.safetensors", {"format": "pt"})
        beside.rename(path)


class PushCallback(TrainerCallback):
    """Pushes the model's weights after every `every` optimiser steps, and at the end of training where the last step was
    not pushed.

    `url_or_model` is a liveweight.Model in this process, whose versions are named "step N" and whose last UpdateReport is
    `report`; or the file: URL of a directory of versions, which `liveweight follow` in another process takes them from
    (VersionsDirectory). In distributed training only the main process pushes, and its parameters must be whole. What a push
    raises goes through the Trainer."""

    def __init__(self, url_or_model: str | Model, every: int = 1):
        if every < 1:
            raise ValueError(f"every: expected 1 or more, got {every}")
        self.every = every
        self.report: UpdateReport | None = None
        self._push = self._into(url_or_model)
        self._pushed_step: int | None = None

    def _into(self, url_or_model: str | Model) -> Callable[[torch.nn.Module, int], Any]:
        if isinstance(url_or_model, str):
            return VersionsDirectory(_path_of(url_or_model)).push
        if not isinstance(url_or_model, Model):
            raise TypeError(f"url_or_model: expected a liveweight.Model or a URL, got {type(url_or_model).__name__}")
        live = url_or_model

        def push_into_model(module: torch.nn.Module, step: int) -> None:
            self.report = push(live, module, f"step {step}")
        return push_into_model

    def on_step_end(self, args: Any, state: Any, control: Any, model: torch.nn.Module | None = None, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self._push_step(state, model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: torch.nn.Module | None = None, **kwargs: Any) -> None:
        if self._pushed_step != state.global_step:
            self._push_step(state, model)

    def _push_step(self, state: Any, model: torch.nn.Module | None) -> None:
        if model is None or not state.is_world_process_zero:
            return
        self._push(model, state.global_step)
        self._pushed_step = state.global_step


def _path_of(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise ValueError("url_or_model: expected a URL such as file:///path/to/versions (there is no server to push to yet), "
                         f"got {url}")
    return urllib.request.url2pathname(parts.path)
