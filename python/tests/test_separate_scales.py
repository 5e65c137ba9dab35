"""reload() of modules whose weights and scales are parameters of their own, by adapters."""
import importlib.util
import unittest

HAS_TORCHAO = all(importlib.util.find_spec(package) for package in ("torch", "torchao"))
if HAS_TORCHAO:
    import torch
    from torch import nn

    import liveweight
    from liveweight.torch import Destination, register_adapter, reload
    from liveweight.torch._adapters import _adapters


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class SeparateScales(unittest.TestCase):
    def pair(self, codes, scales, compressed_tensors=False, transposed=False):
        linear = nn.Linear(codes.shape[1], codes.shape[0], bias=False)
        linear.weight = nn.Parameter(codes.t() if transposed else codes, requires_grad=False)
        linear.weight_scale = nn.Parameter(scales, requires_grad=False)
        if compressed_tensors:
            linear.quantization_scheme = "anything"
        return linear

    def test_modules_with_a_weight_and_a_scale(self):
        for scheme, options in [("fp8_per_channel", {}), ("fp8_per_tensor", {}), ("fp8_per_channel", {"transposed": True}),
                                ("fp8_per_block", {}), ("int8_per_channel@compressed-tensors", {"compressed_tensors": True}),
                                ("fp8_per_channel@compressed-tensors", {"compressed_tensors": True})]:
            with self.subTest(scheme, **options):
                torch.manual_seed(0)
                old, new = torch.randn(256, 128).bfloat16(), torch.randn(256, 128).bfloat16()
                module = self.pair(*liveweight.quantize(old, scheme), **options)
                self.assertEqual(reload(module, {"weight": new}), {"weight"})
                codes, scales = liveweight.quantize(new, scheme)
                got = module.weight.t() if options.get("transposed") else module.weight
                self.assertTrue(torch.equal(got.contiguous().view(torch.uint8), codes.view(torch.uint8)))
                self.assertTrue(torch.equal(module.weight_scale, scales))

    def test_a_scale_follows_and_must_not_come(self):
        codes, scales = liveweight.quantize(torch.randn(64, 64).bfloat16(), "fp8_per_channel")
        module = nn.Sequential(self.pair(codes, scales))
        with self.assertRaisesRegex(liveweight.Error, "0.weight_scale: it follows from 0.weight, and must not come") as caught:
            reload(module, {"0.weight": torch.randn(64, 64), "0.weight_scale": scales})
        self.assertEqual((caught.exception.code, caught.exception.names), ("unknown_tensor", ["0.weight_scale"]))
        self.assertTrue(torch.equal(module[0].weight.view(torch.uint8), codes.view(torch.uint8)))

    def test_a_static_scale_of_activations_stays_unless_it_comes(self):
        new = torch.randn(64, 64).bfloat16()
        for register in ("register_parameter", "register_buffer"):
            module = self.pair(*liveweight.quantize(torch.randn(64, 64).bfloat16(), "fp8_per_tensor"))
            getattr(module, register)("input_scale", nn.Parameter(torch.tensor([float("inf")]), requires_grad=False))
            self.assertEqual(reload(module, {"weight": new}), {"weight"})
            self.assertEqual(module.input_scale.item(), float("inf"))
            self.assertTrue(torch.equal(module.weight_scale, liveweight.quantize(new, "fp8_per_tensor")[1]))
            self.assertEqual(reload(module, {"weight": new, "input_scale": torch.tensor([2.0])}), {"weight", "input_scale"})
            self.assertEqual(module.input_scale.item(), 2)

    def test_an_adapter_of_ones_own(self):
        class Halves(nn.Module):
            """Keeps its codes and scales under names of its own."""

            def __init__(self, weight):
                super().__init__()
                codes, scales = liveweight.quantize(weight, "int8_per_channel")
                self.kernel = nn.Parameter(codes, requires_grad=False)
                self.register_buffer("factors", scales, persistent=False)

        class HalvesAdapter:
            def destination(self, module, name, live, original, config):
                if isinstance(module, Halves) and name == "kernel":
                    return Destination("int8_per_channel", live.detach(), module.factors)
                return None
        register_adapter(HalvesAdapter())
        try:
            module, new = Halves(torch.randn(8, 64).bfloat16()), torch.randn(8, 64).bfloat16()
            reload(module, {"kernel": new})
            codes, scales = liveweight.quantize(new, "int8_per_channel")
            self.assertTrue(torch.equal(module.kernel, codes) and torch.equal(module.factors, scales))
        finally:
            del _adapters[0]


if __name__ == "__main__":
    unittest.main()
