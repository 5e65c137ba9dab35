#!/usr/bin/env python3
"""Reloads of a torchao-quantized Llama: ours beside a straightforward implementation in torch and torchao (restore
high-precision parameters, load, quantize, copy into the old ones), in alternating rounds.

    reload.py [--layers 22] [--rounds 3] [--scheme int8 fp8 int4] [--source file memory passing] [--weights step unrelated]

Needs torch, torchao and safetensors. Sources: a mapped safetensors file; a dictionary's items in memory; an iterator that
yields all tensors in one buffer. Weights, with every reload: those after a step of training (1 % of the elements become the
next bf16), or of another model. Peak memory is of pages of the process's own (RssAnon), in separate rounds."""
import argparse
import functools
import itertools
import json
import os
import statistics
import tempfile
import time
from types import SimpleNamespace

import torch
from llama import Llama, Loader, load_weights, make_checkpoint
from memory import PeakMemory
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, PerRow, quantize_

from liveweight.torch._fallback import inner_tensors
from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading,
                                                  support_quantized_model_reload_from_hp_weights)

SCHEMES = {"int8": Int8WeightOnlyConfig(version=2), "fp8": Float8WeightOnlyConfig(granularity=PerRow()),
           "int4": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2)}
SOURCES = ["file", "memory", "passing"]
WEIGHTS = ["step", "unrelated"]
ours = support_quantized_model_reload_from_hp_weights(load_weights)


@torch.no_grad()
def straightforward(model, configuration, weights):
    old = dict(model.named_parameters())
    modules = dict(model.named_modules())
    for name, parameter in old.items():
        module, _, attribute = name.rpartition(".")
        fresh = nn.Parameter(torch.empty(parameter.shape, dtype=torch.bfloat16), requires_grad=False)
        fresh.weight_loader = model.recorded_weight_attr[name]["weight_loader"][0]
        setattr(modules[module], attribute, fresh)
    load_weights(Loader(model), weights)
    quantize_(model, configuration)
    for name, parameter in old.items():
        module, _, attribute = name.rpartition(".")
        parameter.copy_(getattr(modules[module], attribute))
        setattr(modules[module], attribute, parameter)


@torch.no_grad()
def trained(weights):
    """1 % of the elements are the next bf16."""
    def step(tensor):
        places = torch.randint(tensor.numel(), (tensor.numel() // 100,))
        after = tensor.clone()
        after.view(torch.int16).view(-1)[places] += 1
        return after
    return {name: step(tensor) for name, tensor in weights.items()}


@functools.cache
def shared_buffer(elements):
    return torch.zeros(elements, dtype=torch.bfloat16)


def passing(weights):
    """As tensors come from another process: all in one buffer, one after the other."""
    buffer = shared_buffer(max(tensor.numel() for tensor in weights.values()))
    for name, tensor in weights.items():
        yield name, buffer[:tensor.numel()].view(tensor.shape).copy_(tensor)


class Weights:
    """A file, and a dictionary of its tensors, which is mapped: what is in memory is there once."""

    def __init__(self, tensors):
        self.file = tempfile.NamedTemporaryFile(suffix=".safetensors")
        save_file(tensors, self.file.name)
        os.fsync(self.file.fileno())  # else the system writes it beside the first rounds
        self.tensors = dict(self.read())

    def read(self):
        with safe_open(self.file.name, "pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)

    def come_from(self, source):
        return {"file": self.read, "memory": self.tensors.items, "passing": lambda: passing(self.tensors)}[source]()


def other_weights(kind, weights, layers):
    return Weights(trained(weights.tensors) if kind == "step" else make_checkpoint(layers, 2))


def bits(model):
    return [part.view(torch.uint8).clone() for p in model.parameters() for part in inner_tensors(p.detach())]


def measure(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def compare(scheme, source, turns, arguments):
    """`turns`: two Weights, loaded in turn."""
    configuration = SCHEMES[scheme]
    model = Llama(arguments.layers)
    maybe_save_metadata_and_attributes_for_weight_reloading(model, SimpleNamespace(quantization="torchao"))
    quantize_(model, configuration)
    ways = {"liveweight": lambda weights: ours(Loader(model), weights.come_from(source)),
            "torch": lambda weights: straightforward(model, configuration, weights.come_from(source))}
    turns = itertools.cycle(turns)
    first = next(turns)
    ways["torch"](first)
    expected = bits(model)
    for parameter in model.parameters():
        for part in inner_tensors(parameter.detach()):
            part.zero_()
    ways["liveweight"](first)
    equal = all(torch.equal(a, b) for a, b in zip(expected, bits(model)))
    del expected
    seconds = {name: [] for name in ways}
    for _, new in zip(range(arguments.rounds), turns):
        for name, run in ways.items():  # ours first: it is the one whose time depends on what lives
            seconds[name].append(measure(lambda run=run: run(new)))
    peaks, new = {}, next(turns)
    for name, run in ways.items():
        with PeakMemory() as peak:
            run(new)
        peaks[name] = peak.extra_bytes
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    source_bytes = sum(tensor.nbytes for tensor in first.tensors.values())
    return {"equal": equal, "seconds": medians, "ratio": medians["torch"] / medians["liveweight"],
            "source_gb_per_second": source_bytes / medians["liveweight"] / 1e9, "extra_peak_bytes": peaks,
            "peak_share": peaks["liveweight"] / peaks["torch"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scheme", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=WEIGHTS)
    arguments = parser.parse_args()
    weights = Weights(make_checkpoint(arguments.layers, 1))
    for kind in arguments.weights:
        turns = [weights, other_weights(kind, weights, arguments.layers)]
        for scheme in arguments.scheme:
            for source in arguments.source:
                facts = {"scheme": scheme, "source": source, "weights": kind}
                print(json.dumps(facts | compare(scheme, source, turns, arguments)), flush=True)


if __name__ == "__main__":
    main()
