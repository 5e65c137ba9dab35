"""Memory that loaders reach in several ways: a tensor given as `data`, a broken tie, memory behind stand-ins, negated views."""
import concurrent.futures
import ctypes
import unittest
from types import SimpleNamespace

from online_model import HAS_TORCHAO

if HAS_TORCHAO:
    import torch
    from online_model import ONLINE, bits
    from torch import nn
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    import liveweight
    from liveweight.torch._fallback import inner_tensors
    from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading, partial_reload,
                                                      support_quantized_model_reload_from_hp_weights)

    class Model(nn.Module):
        """A head that is quantized from the embedding, a plain weight, codes, and one without elements."""

        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(96, 64), nn.Linear(64, 96, bias=False)
            self.norm = nn.Parameter(torch.ones(64))
            self.bfloat16().requires_grad_(False)
            self.codes = nn.Parameter(torch.arange(64, dtype=torch.int8), requires_grad=False)
            self.small = nn.Parameter(torch.zeros(8, 8).to(torch.float8_e4m3fn), requires_grad=False)
            self.none = nn.Parameter(torch.zeros(0, dtype=torch.int64), requires_grad=False)
            self.head.weight = self.embed.weight

    def quantized(model):
        quantize_(model, Int8WeightOnlyConfig(version=2))
        return model

    def checkpoint(seed):
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.randn(p.shape, generator=generator).mul_(4).to(p.dtype) for name, p in Model().named_parameters()}

    def by_name(loader):
        """Does something to each parameter for which something comes."""
        def load(parameters, weights):
            for name, tensor in weights:
                loader(parameters[name], tensor)
        return load


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class Aliases(unittest.TestCase):
    def setUp(self):
        self.model = Model()
        maybe_save_metadata_and_attributes_for_weight_reloading(self.model, ONLINE)
        quantized(self.model)

    def reload(self, loader, weights):
        patched = support_quantized_model_reload_from_hp_weights(
            torch.no_grad()(lambda auto, weights, *, mapper=None: loader(dict(auto.module.named_parameters()), weights)))
        patched(SimpleNamespace(module=self.model), weights)

    def check(self, *loaders):
        for loader in loaders:
            for seed in (1, 2):
                expected = Model()
                with torch.no_grad():
                    loader(dict(expected.named_parameters()), checkpoint(seed).items())
                for weights in (checkpoint(seed).items(), iter(checkpoint(seed).items())):
                    self.reload(loader, weights)
                    self.assertTrue(bits(self.model) == bits(quantized_copy(expected)))

    def test_a_tensor_given_as_data_is_the_parameter(self):
        def scaled_then_set(param, loaded):
            given = loaded.clone()
            param.data = given
            given.view(torch.int8).fill_(0)
            param.data[:1] = loaded[:1]
            given[1:] = loaded[1:]

        def set_then_scaled(param, loaded):
            given = torch.zeros_like(loaded)
            param.data = given
            param.data.copy_(loaded)
            given.copy_(given.float().mul(2).to(given.dtype))

        def both(param, loaded):
            given = torch.zeros_like(loaded)
            param.data = given
            given[:4].copy_(loaded[:4])
            param.data[4:].copy_(loaded[4:])

        def past_torch(param, loaded):
            param.data = loaded.clone()
            param.data.view(torch.int8).numpy()[:1] = 0
        self.check(*map(by_name, (scaled_then_set, set_then_scaled, both, past_torch)))

    def test_a_tensor_given_as_data_may_be_written_when_others_have_come(self):
        def load(parameters, weights):
            given = {}
            for name, tensor in weights:
                given[name] = parameters[name].data = tensor.clone()
            for name, tensor in given.items():
                parameters[name].data[:1] = tensor[1:2]
                tensor[2:3] = parameters[name].data[3:4]
        self.check(load)

    def test_a_tensor_given_as_data_may_be_filled_when_its_weight_comes(self):
        def given(fill):
            def load(parameters, weights):
                memory = {name: fill(param) for name, param in parameters.items()}
                for name, tensor in weights:
                    memory[name](tensor)
            return load

        def through_the_tensor(param):
            param.data = tensor = torch.full_like(param, float("nan") if param.is_floating_point() else 1)
            return tensor.copy_

        def through_the_parameter(param):
            param.data = torch.full_like(param, float("nan") if param.is_floating_point() else 1)
            return param.data.copy_

        def past_torch(param):
            param.data = torch.zeros_like(param)  # held by nobody else
            address = param.data_ptr()
            return lambda tensor: ctypes.memmove(address, tensor.data_ptr(), tensor.nbytes)
        self.check(*map(given, (through_the_tensor, through_the_parameter, past_torch)))

    def test_threads_may_fill_tensors_given_as_data(self):
        def load(parameters, weights):
            given = {}
            for name, param in parameters.items():
                given[name] = param.data = torch.zeros_like(param)
            with concurrent.futures.ThreadPoolExecutor(4) as threads:
                done = [threads.submit(torch.no_grad()((given[name] if row % 2 == 0 else parameters[name].data)[row].copy_),
                                       tensor[row]) for name, tensor in weights for row in range(len(tensor))]
            for copied in done:
                copied.result()
        for _ in range(5):
            self.check(load)

    def test_a_tensor_that_lies_otherwise_is_one_way_of_writing(self):
        def load(parameters, weights):
            for name, tensor in weights:
                given = tensor.t().contiguous().t()
                parameters[name].data = given
                if given.dim() > 1 and not given.is_contiguous():
                    parameters[name].data.zero_()
                    given.zero_()
        before = bits(self.model)
        with self.assertRaisesRegex(liveweight.Error, "(embed.weight|small): expected one way of writing, through the"):
            self.reload(load, checkpoint(1).items())
        self.assertTrue(bits(self.model) == before)

    def test_both_ends_of_a_broken_tie_have_what_is_written_last(self):
        def load(parameters, weights):
            memory = parameters["embed.weight"].data.view(torch.int16).numpy()
            for name, tensor in weights:
                if name == "embed.weight":
                    memory[...] = tensor.view(torch.int16).numpy()
                else:
                    parameters[name].data.copy_(tensor)
            memory[90:] = 0  # a vocabulary's padding
        self.check(load)

    def test_a_partial_reload_leaves_what_was_only_looked_at(self):
        def load(parameters, weights):
            self.assertEqual(len({param.data_ptr() for param in parameters.values()}), len(parameters))
            by_name(lambda param, loaded: param.data.copy_(loaded))(parameters, weights)
        for name in checkpoint(1):
            with self.subTest(name):
                expected = [p.detach().clone() for p in self.model.parameters()]
                with partial_reload(self.model):
                    self.reload(load, [(name, checkpoint(1)[name])])
                for (other, after), before in zip(self.model.named_parameters(), expected):
                    if name not in (other, "embed.weight"):
                        self.assertTrue(all(map(torch.equal, *([part.view(torch.uint8) for part in inner_tensors(p)]
                                                               for p in (after, before)))), other)

    def test_half_of_an_fp8_weight_is_missing(self):
        def rows(param, loaded):
            if loaded.dtype == torch.float8_e4m3fn:
                param.data.view(torch.int8)[[0, 1, 2, 3]] = loaded.view(torch.int8)[:4]
            else:
                param.data.copy_(loaded)
        before = bits(self.model)
        with self.assertRaisesRegex(liveweight.Error, "small: expected 64 elements, got some"):
            self.reload(by_name(rows), checkpoint(1).items())
        self.assertTrue(bits(self.model) == before)

    def test_negated_and_conjugated_views_write_and_read_as_such(self):
        def negated(param, loaded):
            if loaded.dtype == torch.bfloat16:
                torch._neg_view(param.data).copy_(loaded)
                param.data[:4] = torch._neg_view(param.data[:4]).clone()
            else:
                param.data.copy_(loaded)
        self.check(by_name(negated))


def quantized_copy(model):
    fresh = Model()
    with torch.no_grad():
        for to, parameter in zip(fresh.parameters(), model.parameters()):
            to.copy_(parameter)
    return quantized(fresh)


if __name__ == "__main__":
    unittest.main()
