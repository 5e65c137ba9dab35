"""Loaders at random: whatever they do to the parameters they get, the module holds the bits that it would have had if these
had been real."""
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

    ROWS, COLUMNS = 40, 64
    CONFIGURATIONS = [Int8WeightOnlyConfig(version=2), Float8WeightOnlyConfig(granularity=PerRow()),
                      Float8WeightOnlyConfig(granularity=PerTensor()),
                      IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2)]

    class Model(nn.Module):
        """Three weights, of which two may be one."""

        def __init__(self, tied):
            super().__init__()
            for name in "abc":
                layer = nn.Linear(COLUMNS, ROWS, bias=False, dtype=torch.bfloat16)
                layer.weight = nn.Parameter(torch.zeros(ROWS, COLUMNS, dtype=torch.bfloat16), requires_grad=False)
                setattr(self, name, layer)
            if tied:
                self.b.weight = self.a.weight

    class Program:
        """What a loader does to one parameter, by a number."""

        def __init__(self, seed):
            self.random, self.generator = random.Random(seed), torch.Generator().manual_seed(seed)

        def numbers(self, *shape):
            return torch.randn(*shape, generator=self.generator)

        def run(self, parameter, begins):
            if begins or self.random.random() < 0.15:
                self.write_all(parameter)
            for _ in range(self.random.randrange(3)):
                self.write(self.view(parameter.data))

        def write_all(self, parameter):
            new = self.numbers(ROWS, COLUMNS).bfloat16()
            cuts = sorted(self.random.sample(range(1, ROWS), 3))
            pieces = list(zip([0, *cuts], [*cuts, ROWS]))
            self.random.shuffle(pieces)
            kind = self.random.randrange(5)
            if kind == 0:
                parameter.data.copy_(new)
            elif kind == 1:
                parameter.data = new
            elif kind == 2:
                parameter.data.view(torch.int16).copy_(new.view(torch.int16))
            elif kind == 3:
                torch._foreach_copy_([parameter.data[:, 16 * i:16 * i + 16] for i in range(4)], list(new.split(16, 1)))
            else:
                for begin, end in pieces:
                    parameter.data[begin:end].copy_(new[begin:end])

        def view(self, data):
            row, row_end = sorted(self.random.sample(range(ROWS + 1), 2))
            column, column_end = sorted(self.random.sample(range(COLUMNS + 1), 2))
            rows = data[row:row_end]
            return self.random.choice([lambda: rows, lambda: rows, lambda: rows, lambda: data[row:row_end:2], lambda: rows.t(),
                                       lambda: rows[:, column:column_end], lambda: data.view(-1)[row * COLUMNS + column:],
                                       lambda: rows.view(torch.int16)])()

        def write(self, view):
            new = self.numbers(*view.shape)
            if view.dtype == torch.int16:
                view.copy_(new.bfloat16().view(torch.int16))
                return
            self.random.choice([lambda: view.copy_(new.bfloat16()), lambda: view.copy_(new.bfloat16()), lambda: view.copy_(new),
                                lambda: view.fill_(0.25), lambda: view.mul_(0.5), lambda: view.add_(new.bfloat16()),
                                lambda: view.clamp_(-1, 1)])()

    @torch.no_grad()
    def load_weights(self, weights, *, mapper=None):
        parameters = dict(self.module.named_parameters())
        for name, (seed, begins) in weights:
            Program(int(seed)).run(parameters[name], bool(begins))
        return set(parameters)

    reload_weights = support_quantized_model_reload_from_hp_weights(load_weights)

    def bits(model):
        """A row of zeros is one of NaN where torchao quantizes it to fp8."""
        parts = [part.view(torch.uint8) for _, parameter in model.named_parameters(remove_duplicate=False)
                 for part in inner_tensors(parameter.detach())]
        return [torch.where(part == 255, 0, part) if part.dim() == 2 and part.shape[1] == COLUMNS else part.clone()
                for part in parts]


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class LoaderPrograms(unittest.TestCase):
    def test_the_module_holds_what_real_parameters_would_have_given(self):
        for seed in range(200):
            with self.subTest(seed=seed):
                self.check(random.Random(seed))

    def check(self, choice):
        configuration, tied = choice.choice(CONFIGURATIONS), choice.random() < 0.2

        def quantized(model):
            quantize_(model, configuration, filter_fn=lambda module, _: module in (model.a, model.b))
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
            self.reload(model, weights, choice.random() < 0.5)
            for ours, theirs in zip(bits(model), bits(quantized(expected)), strict=True):
                self.assertTrue(torch.equal(ours, theirs))

    def reload(self, model, weights, lasts):
        """What it cannot do at once it can the next time, for each parameter."""
        for attempt in range(4):
            before = bits(model)
            try:
                return reload_weights(SimpleNamespace(module=model), weights if lasts else (item for item in weights))
            except liveweight.Error as error:
                self.assertRegex(str(error), "the next reload will hold it whole")
                self.assertLess(attempt, 3)
                self.assertTrue(all(map(torch.equal, before, bits(model))))


if __name__ == "__main__":
    unittest.main()
