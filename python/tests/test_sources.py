"""Tensors of numpy, ml_dtypes and torch go in without a copy, and live tensors come out as theirs."""
import unittest

import liveweight
from sample import FIRST, SECOND, has, read_safetensors


def cold():
    return liveweight.Model.load(SECOND, quant="int8_per_channel").digest()


class Sources(unittest.TestCase):
    def warm(self, convert):
        model = liveweight.Model.load(FIRST, quant="int8_per_channel")
        with model.update() as update:
            for name, (_, shape, data) in read_safetensors(SECOND).items():
                update.put(name, convert(data, shape))
        return model.digest()

    @unittest.skipUnless(has("numpy", "ml_dtypes"), "numpy and ml_dtypes are not installed")
    def test_numpy_with_ml_dtypes(self):
        import ml_dtypes
        import numpy
        self.assertEqual(self.warm(lambda data, shape: numpy.frombuffer(data, ml_dtypes.bfloat16).reshape(shape)), cold())

    @unittest.skipUnless(has("numpy", "ml_dtypes"), "numpy and ml_dtypes are not installed")
    def test_numpy_that_is_not_contiguous(self):
        import ml_dtypes
        import numpy

        def spread(data, shape):
            array = numpy.frombuffer(data, ml_dtypes.bfloat16).reshape(shape)
            return numpy.repeat(array, 2, axis=0)[::2] if len(shape) == 1 else numpy.asfortranarray(array)
        self.assertEqual(self.warm(spread), cold())

    @unittest.skipUnless(has("numpy"), "numpy is not installed")
    def test_numpy_of_odd_strides_and_byte_orders(self):
        import numpy
        values = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
        expected = [bytes(part.bytes) for part in liveweight._core.quantize(values, "int8_per_channel")]
        fields = numpy.zeros((3, 4), dtype=[("value", "f4"), ("other", "u1")])  # a row of them is no multiple of 4 bytes
        fields["value"] = values
        same = liveweight._core.quantize(fields["value"], "int8_per_channel")
        self.assertEqual([bytes(part.bytes) for part in same], expected)
        with self.assertRaises(liveweight.Error) as caught:
            liveweight.quantize(values.astype(">f4"), "int8_per_channel")
        self.assertEqual(caught.exception.code, "wrong_dtype")

    @unittest.skipUnless(has("numpy", "ml_dtypes"), "numpy and ml_dtypes are not installed")
    def test_live_tensors_become_numpy_arrays(self):
        import numpy
        tensor = liveweight.Model.load(FIRST, quant="fp8_per_channel").tensor("model.layers.0.mlp.down_proj.weight")
        codes = numpy.asarray(tensor.data)
        self.assertEqual((codes.dtype.name, codes.flags.writeable), ("float8_e4m3fn", False))
        self.assertEqual(codes.__array_interface__["data"][0], numpy.asarray(tensor.data).__array_interface__["data"][0])
        self.assertFalse(numpy.from_dlpack(tensor.scale).flags.writeable)

    @unittest.skipUnless(has("jax"), "jax is not installed")
    def test_jax_arrays(self):
        import jax.numpy
        import ml_dtypes
        import numpy

        def array(data, shape):
            return jax.numpy.asarray(numpy.frombuffer(data, ml_dtypes.bfloat16).reshape(shape))
        self.assertEqual(self.warm(array), cold())
        self.assertEqual(self.warm(lambda *args: array(*args).T.copy().T), cold())

    @unittest.skipUnless(has("jax"), "jax is not installed")
    def test_live_tensors_become_jax_arrays_without_a_copy(self):
        import jax.numpy
        for scheme, dtype in [("int8_per_channel", "int8"), ("fp8_per_channel", "float8_e4m3fn"), ("none", "bfloat16")]:
            live = liveweight.Model.load(FIRST, quant=scheme).tensor("model.layers.0.mlp.down_proj.weight")
            first, second = jax.numpy.from_dlpack(live.data), jax.numpy.from_dlpack(live.data)
            self.assertEqual((first.dtype.name, first.shape), (dtype, live.data.shape))
            self.assertEqual(first.tobytes(), bytes(live.data.bytes))
            self.assertEqual(first.unsafe_buffer_pointer(), second.unsafe_buffer_pointer())

    @unittest.skipUnless(has("torch"), "torch is not installed")
    def test_torch_parameters_views_and_transposes(self):
        import torch

        def tensor(data, shape):
            return torch.frombuffer(bytearray(data), dtype=torch.bfloat16).reshape(shape)
        self.assertEqual(self.warm(tensor), cold())
        self.assertEqual(self.warm(lambda *args: torch.nn.Parameter(tensor(*args))), cold())
        self.assertEqual(self.warm(lambda *args: tensor(*args).t().contiguous().t()), cold())
        self.assertEqual(self.warm(lambda data, shape: tensor(data, shape).repeat(2, *[1] * (len(shape) - 1))[:shape[0]]), cold())

    @unittest.skipUnless(has("torch"), "torch is not installed")
    def test_a_tensor_without_data_is_refused(self):
        import torch
        model = liveweight.Model.load(FIRST, quant="int8_per_channel")
        with self.assertRaises(liveweight.Error), model.update() as update:
            update.put("model.norm.weight", torch.empty(128, dtype=torch.bfloat16, device="meta"))

    @unittest.skipUnless(has("torch"), "torch is not installed")
    def test_live_tensors_become_torch_tensors_without_a_copy(self):
        import torch
        tensor = liveweight.Model.load(FIRST, quant="fp8_per_channel").tensor("model.layers.0.mlp.down_proj.weight")
        codes = torch.from_dlpack(tensor.data)
        self.assertEqual((codes.dtype, tuple(codes.shape)), (torch.float8_e4m3fn, tensor.data.shape))
        self.assertEqual(codes.data_ptr(), torch.from_dlpack(tensor.data).data_ptr())

    @unittest.skipUnless(has("torch"), "torch is not installed")
    def test_quantize_gives_torch_tensors_for_torch_tensors(self):
        import torch
        torch.manual_seed(0)
        weight = torch.randn(48, 96, dtype=torch.bfloat16)
        for scheme in ["int8_per_channel", "fp8_per_tensor", "fp8_per_block@nemo", "int4_per_group:32@torchao-tinygemm",
                       "int8_per_group:32@torchao-intx"]:
            parts = liveweight.quantize(weight, scheme)
            back = liveweight.dequantize(*parts, scheme=scheme)
            self.assertEqual(back.dtype, torch.float32)
            self.assertLess((back - weight.float()).norm() / weight.float().norm(), 0.12, scheme)


if __name__ == "__main__":
    unittest.main()
