"""A model with loaders as vLLM's have them, quantized online, and a straightforward reload of it: restore high-precision
parameters, let the loader load, quantize, copy into the old ones."""
import importlib.util
import types
import unittest
from types import SimpleNamespace

HAS_TORCHAO = all(importlib.util.find_spec(package) for package in ("torch", "torchao"))
if HAS_TORCHAO:
    import torch
    from torch import nn
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    from liveweight.torch._fallback import inner_tensors
    from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading,
                                                      support_quantized_model_reload_from_hp_weights)

    def shard_loader(param, loaded, shard=None):
        """vLLM's fused loaders: rows of a fused parameter."""
        if shard is None:
            param.data.copy_(loaded)
            return
        start = sum(param.sizes[:shard])
        view = param.data.narrow(param.output_dim, start, param.sizes[shard])
        assert view.shape == loaded.shape
        view.copy_(loaded)

    def column_loader(param, loaded):
        """A rank's loader along columns, in two strokes."""
        half = loaded.shape[1] // 2
        param.data[:, :half].copy_(loaded[:, :half])
        param.data[:, half:] = loaded[:, half:]

    def loads_itself(self, loaded):
        self.data.copy_(loaded)
        self.loads += 1

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(64, 96, bias=False)
            self.down = nn.Linear(96, 64)
            self.norm = nn.LayerNorm(64, bias=False)
            self.experts = nn.Parameter(torch.zeros(4, 32, 64))

    class Model(nn.Module):
        """Fused, sharded and expert weights, a tied head, a bound method, odd attributes."""

        def __init__(self, dtype):
            super().__init__()
            self.embed = nn.Embedding(128, 64)
            self.layers = nn.ModuleList(Fused() for _ in range(2))
            self.head = nn.Linear(64, 128, bias=False)
            self.to(dtype)
            self.head.weight = self.embed.weight
            for layer in self.layers:
                layer.qkv.weight.sizes, layer.qkv.weight.output_dim = [64, 16, 16], 0
                layer.qkv.weight.weight_loader = shard_loader
                layer.down.weight.weight_loader = column_loader
                layer.norm.weight.loads = 0
                layer.norm.weight.weight_loader = types.MethodType(loads_itself, layer.norm.weight)
                layer.norm.weight.odd = {"anything": object()}

        def quantize(self, configuration):
            linears = [module for layer in self.layers for module in (layer.qkv, layer.down)]
            quantize_(self, configuration, filter_fn=lambda module, _: module in linears)

    def checkpoint(seed, dtype):
        generator = torch.Generator().manual_seed(seed)

        def random(*shape):
            return torch.randn(*shape, generator=generator).to(dtype)
        weights = {"embed": random(128, 64)}
        for i in range(2):
            weights.update({f"{i}.q": random(64, 64), f"{i}.k": random(16, 64), f"{i}.v": random(16, 64), f"{i}.norm": random(64),
                            f"{i}.down": random(64, 96), f"{i}.bias": random(64)})
            weights.update({f"{i}.expert{e}": random(32, 64) for e in range(4)})
        return weights

    class Loader:
        """Like AutoWeightsLoader: has the model, and knows where names go."""

        def __init__(self, module):
            self.module = module
            self.touch = lambda parameter: None

    def load_weights(self, weights, *, mapper=None):
        updated = set()
        for name, tensor in weights:
            if name == "embed":
                self.module.embed.weight.data.copy_(tensor)
                updated.add("embed.weight")
                continue
            layer, part = name.split(".")
            module = self.module.layers[int(layer)]
            if part in "qkv":
                module.qkv.weight.weight_loader(module.qkv.weight, tensor, "qkv".index(part))
            elif part == "down":
                module.down.weight.weight_loader(module.down.weight, tensor)
            elif part == "bias":
                module.down.bias[...] = tensor
            elif part == "norm":
                module.norm.weight.weight_loader(tensor)
            else:
                module.experts.data[int(part[6:])].copy_(tensor)
            self.touch(module)
            updated.add(name)
        return updated

    def straightforward(model, configuration, weights, dtype):
        """A fresh model, loaded and quantized; its bits are copied over."""
        fresh = Model(dtype)
        with torch.no_grad():
            updated = load_weights(Loader(fresh), weights)
        fresh.quantize(configuration)
        with torch.no_grad():
            for old, new in zip(model.parameters(), fresh.parameters()):
                old.copy_(new)
        return updated

    def bits(model):
        parts = [part for parameter in model.parameters() for part in inner_tensors(parameter)]
        return [bytes(part.contiguous().view(-1).view(torch.uint8).numpy()) for part in parts]

    reload_weights = torch.no_grad()(support_quantized_model_reload_from_hp_weights(load_weights))
    ONLINE = SimpleNamespace(quantization="torchao", is_checkpoint_torchao_serialized=False)

    def loaded_model(configuration, dtype, seed=0):
        model = Model(dtype)
        reload_weights(Loader(model), checkpoint(seed, dtype).items())  # the first load passes through
        maybe_save_metadata_and_attributes_for_weight_reloading(model, ONLINE)
        model.quantize(configuration)
        maybe_save_metadata_and_attributes_for_weight_reloading(model, ONLINE)  # once is enough
        return model

    def snapshot(model):
        parameters = list(model.named_parameters(remove_duplicate=False))
        return ([(name, id(p)) for name, p in parameters], [part.data_ptr() for _, p in parameters for part in inner_tensors(p)],
                [dict(p.__dict__) for _, p in parameters], bits(model))


class OnlineModelTest(unittest.TestCase):
    def setUp(self):
        self.configuration, self.dtype = Int8WeightOnlyConfig(version=2), torch.bfloat16
        self.model = loaded_model(self.configuration, self.dtype)

    def generator(self, seed, **changes):
        return ((name, tensor) for name, tensor in {**checkpoint(seed, self.dtype), **changes}.items())

    def load_down_weights_by(self, loader):
        for i in range(2):
            self.model.recorded_weight_attr[f"layers.{i}.down.weight"]["weight_loader"] = loader, False

    def check_reload(self, seed, weights):
        reload_weights(Loader(self.model), weights)
        self.assertEqual(bits(self.model), bits(loaded_model(self.configuration, self.dtype, seed=seed)))
