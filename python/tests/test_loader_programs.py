"""Loaders at random: whatever they do to the parameters they get, the module holds the bits that it would have had if these
had been real."""
import concurrent.futures
import contextlib
import ctypes
import importlib.util
import random
import unittest
from types import SimpleNamespace

HAS_TORCHAO = all(importlib.util.find_spec(package) for package in ("torch", "torchao"))
if HAS_TORCHAO:
    import torch
    from torch import nn
    from torchao.quantization import (Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, PerRow,
                                      PerTensor, quantize_)

    import liveweight
    from liveweight.torch._fallback import inner_tensors
    from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading,
                                                      support_quantized_model_reload_from_hp_weights)

    CONFIGURATIONS = [Int8WeightOnlyConfig(version=2), Float8WeightOnlyConfig(granularity=PerRow()),
                      Float8WeightOnlyConfig(granularity=PerTensor()),
                      IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2)]

    SHAPES = {"scalar": (), "vector": (7,), "matrix": (5, 1), "row": (1, 32), "experts": (3, 8, 32), "none": (0, 32), "hollow": (4, 0)}

    class Model(nn.Module):
        """Weights that are quantized, of which two may be one, and others."""

        def __init__(self, tied):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(columns, rows, bias=rows == 1) for columns, rows in ((64, 40), (64, 40), (96, 1)))
            for name, shape in SHAPES.items():
                setattr(self, name, nn.Parameter(torch.zeros(shape)))
            self.to(torch.bfloat16).requires_grad_(False)
            if tied:
                self.b.weight = self.a.weight

    class Program:
        """What a loader does to one parameter, by a number."""

        def __init__(self, seed):
            self.random, self.generator = random.Random(seed), torch.Generator().manual_seed(seed)

        def numbers(self, shape):
            return torch.randn(shape, generator=self.generator)

        def run(self, parameter, begins):
            if begins or self.random.random() < 0.15:
                self.write_all(parameter)
            for _ in range(self.random.randrange(3)):
                self.write(self.view(parameter.data))

        def write_all(self, parameter):
            new = self.numbers(parameter.shape).bfloat16()
            kinds = ["copy", "replace", "set"] + ["bytes", "list", "rows"] * (parameter.dim() > 0)
            kind = self.random.choice(kinds)
            if kind == "copy":
                parameter.data.copy_(new)
            elif kind == "replace":
                parameter.data = new
            elif kind == "set":
                parameter.set_(new)
            elif kind == "bytes":
                parameter.data.view(torch.int16).copy_(new.view(torch.int16))
            elif kind == "list":
                torch._foreach_copy_(list(parameter.data.chunk(4, -1)), list(new.chunk(4, -1)))
            else:
                for row in self.random.sample(range(len(new)), len(new)):
                    parameter.data[row].copy_(new[row])

        def view(self, data):
            for _ in range(self.random.randrange(3)):
                if data.dim() > 0 and data.numel() > 0:
                    data = self.narrower(data)
            return data

        def narrower(self, data):
            dim = self.random.randrange(data.dim())
            begin, end = sorted(self.random.choices(range(data.shape[dim] + 1), k=2))
            ways = [lambda: data.select(dim, begin % data.shape[dim]), lambda: data.narrow(dim, begin, end - begin),
                    lambda: data.unsqueeze(0), lambda: data.transpose(0, -1), lambda: data[..., ::2]]
            if data.is_contiguous() and data.dtype == torch.bfloat16:
                ways += [lambda: data.view(-1), lambda: data.view(torch.int16)]
            return self.random.choice(ways)()

        def write(self, view):
            new = self.numbers(view.shape)
            if view.dtype == torch.int16:
                view.copy_(new.bfloat16().view(torch.int16))
                return
            self.random.choice([lambda: view.copy_(new.bfloat16()), lambda: view.copy_(new), lambda: self.through_scratch(view, new),
                                lambda: view.fill_(0.25), lambda: view.mul_(0.5), lambda: view.add_(new.bfloat16()),
                                lambda: view.clamp_(-1, 1), lambda: view.__setitem__(..., 0.25), lambda: view.cpu().copy_(new),
                                lambda: self.past_torch(view, new.bfloat16())])()

        def past_torch(self, view, new):
            if view.is_contiguous() and self.random.random() < 0.5:
                ctypes.memmove(view.data_ptr(), new.data_ptr(), new.nbytes)
            else:
                view.view(torch.int16).numpy()[...] = new.view(torch.int16).numpy()

        def through_scratch(self, view, new):
            scratch = torch.empty(view.shape, dtype=view.dtype)
            view.copy_(scratch.copy_(new))
            scratch.fill_(3)

    @torch.no_grad()
    def load_weights(self, weights, *, mapper=None):
        parameters = dict(self.module.named_parameters())
        for name, (seed, begins) in weights:
            Program(int(seed)).run(parameters[name], bool(begins))
        return set(parameters)

    def load_by_threads(self, weights, *, mapper=None):
        """Each parameter by one of three, while the next weights are asked for."""
        parameters = dict(self.module.named_parameters())
        with contextlib.ExitStack() as stack:
            threads = [stack.enter_context(concurrent.futures.ThreadPoolExecutor(1)) for _ in range(3)]
            of = {name: threads[i % 3] for i, name in enumerate(parameters)}
            runs = [of[name].submit(torch.no_grad()(Program(int(seed)).run), parameters[name], bool(begins))
                    for name, (seed, begins) in weights]
        for run in runs:
            run.result()
        return set(parameters)

    RELOADS = [support_quantized_model_reload_from_hp_weights(loader) for loader in (load_weights, load_by_threads)]

    def bits(model):
        """A row of zeros is one of NaN where torchao quantizes it to fp8."""
        parts = [part.view(-1).view(torch.uint8) for _, parameter in model.named_parameters(remove_duplicate=False)
                 for part in inner_tensors(parameter.detach())]
        return [torch.where(part == 255, 0, part) for part in parts]


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class LoaderPrograms(unittest.TestCase):
    def test_the_module_holds_what_real_parameters_would_have_given(self):
        for seed in range(120):
            with self.subTest(seed=seed):
                self.check(random.Random(seed))

    def check(self, choice):
        configuration, tied = choice.choice(CONFIGURATIONS), choice.random() < 0.2

        def quantized(model):
            quantize_(model, configuration, filter_fn=lambda module, _: module in (model.a, model.b, model.c))
            return model

        model = Model(tied)
        maybe_save_metadata_and_attributes_for_weight_reloading(model, SimpleNamespace(quantization="torchao"))
        quantized(model)
        for _ in range(2):
            names = [name for name, _ in Model(tied).named_parameters()]
            again = [choice.choice(names) for _ in range(choice.randrange(4))]
            weights = [(name, torch.tensor([choice.randrange(1 << 30), i < len(names)])) for i, name in enumerate(names + again)]
            expected = Model(tied)
            load_weights(SimpleNamespace(module=expected), weights)
            self.reload(choice.choice(RELOADS), model, weights, choice.random() < 0.5)
            for ours, theirs in zip(bits(model), bits(quantized(expected)), strict=True):
                self.assertTrue(torch.equal(ours, theirs))

    def reload(self, reload_weights, model, weights, lasts):
        """What it cannot do at once it can the next time, for each parameter."""
        for attempt in range(5):
            before = bits(model)
            try:
                return reload_weights(SimpleNamespace(module=model), weights if lasts else (item for item in weights))
            except liveweight.Error as error:
                self.assertRegex(str(error), "the next reload will hold it whole")
                self.assertLess(attempt, 4)
                self.assertTrue(all(map(torch.equal, before, bits(model))))


if __name__ == "__main__":
    unittest.main()
