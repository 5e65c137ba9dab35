"""Parameters on another device than the CPU, and on several: quantized there by torchao, with the same bits. In a process of
its own (test_devices.py), as torch keeps such a device until that ends."""
import functools
import itertools
import tempfile
import types
import unittest
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.cpp_extension import load
from torchao.quantization import (Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, PerRow,
                                  quantize_)

import liveweight.torch
from liveweight.torch._fallback import inner_tensors
from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading,
                                                  support_quantized_model_reload_from_hp_weights)

CONFIGURATIONS = [Int8WeightOnlyConfig(version=2), Float8WeightOnlyConfig(granularity=PerRow()),
                  IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2)]
PLACES = [("cpu", "other"), ("other", "cpu"), ("other", "other")]


class Model(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.a, self.b = (nn.Linear(64, 48, bias=True, dtype=torch.bfloat16, device=place) for place in (first, second))
        self.norm = nn.Parameter(torch.ones(64, dtype=torch.bfloat16, device=second))
        self.requires_grad_(False)


def fills(param, loaded):
    param.data[...] = 0
    param.data[list(range(len(loaded)))] += loaded.to(param.device)


def through_scratch(param, loaded):
    scratch = torch.empty(param.shape, dtype=param.dtype, device=param.data.device)
    param.data.copy_(scratch.copy_(loaded).mul_(param.new_tensor(2.0)) * 0.5)


LOADERS = {
    "copy": lambda param, loaded: param.data.copy_(loaded),
    "shards": lambda param, loaded: [to.copy_(part) for to, part in zip(param.data.chunk(2), loaded.chunk(2))],
    "to its device": lambda param, loaded: param.data.copy_(loaded.to(param.device)),
    "to a view's device": lambda param, loaded: param.data.copy_(loaded.to(param.data[:1].device)),
    "to where a tensor is": lambda param, loaded: param.data.copy_(loaded.to(param.data)),
    "add": lambda param, loaded: param.data.zero_().add_(loaded.to(param.device)),
    "replace": lambda param, loaded: setattr(param, "data", loaded.to(param.device)),
    "itself": lambda param, loaded: param.data.to(param.device).copy_(loaded),
    "fill": fills, "scratch": through_scratch}


@functools.cache
def other_device():
    """`other`, a device that torch has none of its own for."""
    with tempfile.TemporaryDirectory() as directory:
        load("other_device", [str(Path(__file__).parent / "other_device.cc")], extra_cflags=["-O0"], build_directory=directory,
             is_python_module=False)
    torch.utils.rename_privateuse1_backend("other")
    module = types.ModuleType("torch.other")
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: None
    torch._register_device_module("other", module)


def checkpoint(seed, model):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator).bfloat16() for name, p in model.named_parameters()}


def parts(model):
    return [part for parameter in model.parameters() for part in inner_tensors(parameter.detach())]


def places_of(model):
    return [(id(parameter), part.data_ptr()) for parameter in model.parameters() for part in inner_tensors(parameter.detach())]


def bits(model):
    return [(part.device, part.cpu().contiguous().view(-1).view(torch.uint8).tolist()) for part in parts(model)]


class Devices(unittest.TestCase):
    def setUp(self):
        other_device()

    def quantized(self, model, configuration):
        quantize_(model, configuration, filter_fn=lambda module, _: isinstance(module, nn.Linear))
        return model

    @torch.no_grad()
    def check(self, places, configuration, loader):
        def load_weights(auto_weight_loader, weights, *, mapper=None):
            parameters = dict(auto_weight_loader.module.named_parameters())
            for name, tensor in weights:
                loader(parameters[name], tensor)
            return set(parameters)

        def cut(weights, length):
            yield from itertools.islice(weights, length)
            raise ZeroDivisionError

        model = Model(*places)
        maybe_save_metadata_and_attributes_for_weight_reloading(
            model, SimpleNamespace(quantization="torchao", torchao_config=configuration))
        self.quantized(model, configuration)
        before = places_of(model)
        reload_weights = support_quantized_model_reload_from_hp_weights(load_weights)
        for seed in (1, 2):
            weights, expected, old = checkpoint(seed, model), Model(*places), bits(model)
            load_weights(SimpleNamespace(module=expected), weights.items())
            for length in range(len(weights) + 1):
                with self.assertRaises(ZeroDivisionError):
                    reload_weights(SimpleNamespace(module=model), cut(weights.items(), length))
                self.assertTrue(bits(model) == old)
            self.assertEqual(reload_weights(SimpleNamespace(module=model), weights.items()), set(weights))
            self.assertTrue(bits(model) == bits(self.quantized(expected, configuration)))
        self.assertEqual(places_of(model), before)

    def test_reloads_are_what_torchao_makes_of_the_weights_there(self):
        for places, configuration, name in itertools.product(PLACES, CONFIGURATIONS, LOADERS):
            with self.subTest(places=places, configuration=type(configuration).__name__, loader=name):
                self.check(places, configuration, LOADERS[name])

    def test_the_plain_function_does_the_same(self):
        for places, configuration in itertools.product(PLACES, CONFIGURATIONS):
            with self.subTest(places=places, configuration=type(configuration).__name__):
                model, expected = self.quantized(Model(*places), configuration), Model(*places)
                weights = checkpoint(1, expected)
                with torch.no_grad():
                    for name, parameter in expected.named_parameters():
                        parameter.copy_(weights[name])
                liveweight.torch.reload(model, weights, config=configuration)
                self.assertTrue(bits(model) == bits(self.quantized(expected, configuration)))


if __name__ == "__main__":
    unittest.main()
