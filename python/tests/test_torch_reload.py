"""reload() against torchao's own quantize_ on the CPU: equal bits, same storages, all or nothing."""
import importlib.util
import unittest
import unittest.mock
from collections import OrderedDict

HAS_TORCHAO = all(importlib.util.find_spec(package) for package in ("torch", "torchao"))
if HAS_TORCHAO:
    import torch
    from torch import nn
    from torchao.quantization import (Float8WeightOnlyConfig, FqnToConfig, Int8DynamicActivationIntxWeightConfig,
                                      Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerAxis, PerGroup, PerRow, PerTensor, quantize_)

    import liveweight
    from liveweight.torch import reload
    from liveweight.torch._fallback import inner_tensors
    from liveweight.torch._session import Session

    def configurations():
        for granularity in (PerRow(), PerTensor()):
            yield Int8WeightOnlyConfig(version=2, granularity=granularity)
            yield Float8WeightOnlyConfig(granularity=granularity)
        for element in (torch.int3, torch.int4, torch.int8):
            for granularity in (PerGroup(32), PerAxis(0)):
                yield IntxWeightOnlyConfig(weight_dtype=element, granularity=granularity, version=2)
        yield Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32))

    def network(seed, dtype=torch.bfloat16):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Embedding(100, 64), nn.Linear(64, 96), nn.BatchNorm1d(96), nn.Linear(96, 256, bias=False),
                             nn.Linear(256, 130)).to(dtype)

    def quantized(seed, configuration, **options):
        model = network(seed, **options)
        by_names = {"filter_fn": None} if isinstance(configuration, FqnToConfig) else {}
        quantize_(model, configuration, **by_names)
        return model

    def weights(seed, **options):
        return {name: value.clone() for name, value in network(seed, **options).state_dict().items()}

    def parts(model):
        tensors = [*model.parameters(), *model.buffers()]
        return [inner for tensor in tensors for inner in inner_tensors(tensor)]

    def bits(model):
        return [(part.dtype, bytes(part.contiguous().view(-1).view(torch.uint8).numpy())) for part in parts(model)]


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class Reload(unittest.TestCase):
    def setUp(self):
        self.configuration = Int8WeightOnlyConfig(version=2)
        self.model = quantized(0, self.configuration)
        self.before = bits(self.model)

    def test_every_class_has_the_bits_of_quantize(self):
        for configuration in configurations():
            for dtype in (torch.bfloat16, torch.float32):
                model = quantized(0, configuration, dtype=dtype)
                addresses = [part.data_ptr() for part in parts(model)]
                identities = [id(parameter) for parameter in model.parameters()]
                for seed, convert in enumerate([dict, lambda w: iter(w.items()), lambda w: ((k, v) for k, v in w.items())], 1):
                    with self.subTest(configuration, dtype=dtype, seed=seed):
                        new = weights(seed, dtype=dtype)
                        self.assertEqual(reload(model, convert(new), config=configuration), set(new))
                        self.assertEqual(bits(model), bits(quantized(seed, configuration, dtype=dtype)))
                self.assertEqual(addresses, [part.data_ptr() for part in parts(model)])
                self.assertEqual(identities, [id(parameter) for parameter in model.parameters()])

    def test_tensors_without_elements_come_as_others_do(self):
        module = nn.Module()
        for name, shape in {"a": (4, 0), "b": (0, 3), "c": (2, 0, 3), "d": (0,), "e": (2, 2)}.items():
            module.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        weights = {name: torch.ones(parameter.shape) for name, parameter in module.named_parameters()}
        self.assertEqual(reload(module, weights), set("abcde"))
        self.assertEqual(reload(module, iter(weights.items())), set("abcde"))
        self.assertTrue(torch.equal(module.e, weights["e"]))

    def test_an_iterator_may_reuse_one_buffer(self):
        new = weights(1)
        buffer = torch.empty(max(value.numel() for value in new.values()), dtype=torch.bfloat16)

        def stream():
            for name, value in new.items():
                piece = buffer[:value.numel()].view(value.shape)
                yield name, piece.copy_(value) if value.is_floating_point() else value
                buffer.fill_(float("nan"))
        reload(self.model, stream())
        self.assertEqual(bits(self.model), bits(quantized(1, self.configuration)))

    def test_what_containers_keep_is_read_where_it_lies(self):
        put_rows = Session._put_rows
        for convert in (dict, OrderedDict, list, tuple, OrderedDict.items, lambda w: iter(OrderedDict(w).items())):
            items = weights(1).items()
            with unittest.mock.patch.object(Session, "_put_rows", autospec=True, side_effect=put_rows) as puts:
                reload(self.model, convert(OrderedDict(items) if convert is OrderedDict.items else items))
            self.assertTrue(puts.call_args_list and all(lasting for *_, lasting in (call.args for call in puts.call_args_list)))
            self.assertEqual(bits(self.model), bits(quantized(1, self.configuration)))

    @unittest.skipUnless(importlib.util.find_spec("numpy"), "numpy is not installed")
    def test_arrays_of_numpys_come_as_tensors_do(self):
        for convert in (dict, lambda w: ((k, v) for k, v in w.items())):
            reload(self.model, convert({name: value.float().numpy() if value.is_floating_point() else value.numpy()
                                        for name, value in weights(1).items()}))
            self.assertEqual(bits(self.model), bits(quantized(1, self.configuration)))
            reload(self.model, weights(0))
        backwards = weights(1)["3.weight"].float().numpy()[::-1]
        self.assert_refused({**weights(1), "3.weight": backwards}, "wrong_dtype", "3.weight")

    def test_what_is_no_name_and_tensor_is_refused_by_what_it_is(self):
        new = weights(1)
        for item, name, sentence in [(("3.weight", [1.0]), "3.weight", "3.weight: expected a tensor, got a list of 1"),
                                     (("3.weight", lambda: new), "3.weight", "3.weight: expected a tensor, got a function"),
                                     ("3.weight", "#2", "#2: expected a name and a tensor, got a str"),
                                     (("3.weight", 0, new), "#2", "#2: expected a name and a tensor, got a tuple of 3")]:
            items = [*new.items()]
            items[2] = item
            with self.assertRaisesRegex(liveweight.Error, sentence) as caught:
                reload(self.model, items)
            self.assertEqual((caught.exception.code, caught.exception.names), ("invalid_argument", [name]))
            self.assertEqual(bits(self.model), self.before)

    def test_quantized_weights_are_refused_by_their_class(self):
        new = {**weights(1), "1.weight": quantized(1, self.configuration)[1].weight}
        self.assert_refused(new, "unsupported", "1.weight")

    def test_a_name_comes_once(self):
        new = weights(1)
        for convert in (list, lambda w: (item for item in w)):
            with self.assertRaisesRegex(liveweight.Error, "3.weight: expected it once, got it twice") as caught:
                reload(self.model, convert([*new.items(), ("3.weight", new["3.weight"])]))
            self.assertEqual((caught.exception.code, caught.exception.names), ("duplicate_tensor", ["3.weight"]))
            self.assertEqual(bits(self.model), self.before)

    def test_ties_come_alike_or_are_refused(self):
        module = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
        module[2].weight = module[0].weight
        new, other = torch.randn(8, 8), torch.randn(8, 8)
        new[0, 0], new[0, 1] = 0.0, -0.0
        almost = new.clone()
        almost[0, 1] = 0.0
        for convert in (dict, lambda w: ((k, v.clone()) for k, v in w.items())):
            self.assertEqual(reload(module, convert({"0.weight": new, "1.weight": other, "2.weight": new.clone()})),
                             {"0.weight", "1.weight", "2.weight"})
            self.assertTrue(torch.equal(module[0].weight, new) and torch.equal(module[1].weight, other))
            for odd in (other, almost, new.double()):
                with self.assertRaisesRegex(liveweight.Error, "2.weight: expected what came for 0.weight") as caught:
                    reload(module, convert({"0.weight": new, "1.weight": new, "2.weight": odd}))
                self.assertEqual((caught.exception.code, caught.exception.names), ("duplicate_tensor", ["2.weight"]))
                self.assertTrue(torch.equal(module[1].weight, other))

    def test_tensors_of_the_module_itself_may_change_places(self):
        module = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(3)))
        for part in module:
            part.register_buffer("steps", torch.randint(100, (3,)))
        before = {name: value.clone() for name, value in module.state_dict().items()}
        lives = module.state_dict()
        reload(module, {f"{(i + 1) % 3}.{name}": lives[f"{i}.{name}"] for i in range(3) for name in ("weight", "steps")})
        for i in range(3):
            for name in ("weight", "steps"):
                self.assertTrue(torch.equal(module.state_dict()[f"{(i + 1) % 3}.{name}"], before[f"{i}.{name}"]))

    def test_a_buffer_takes_its_own_dtype_bit_for_bit(self):
        def module(seed):
            torch.manual_seed(seed)
            made = nn.Sequential(nn.Linear(8, 8, bias=False))
            values = torch.randn(4, 4)
            values[0, 0], values[1] = -0.0, float("nan")
            for dtype in (torch.int8, torch.int64, torch.bool, torch.bfloat16, torch.float8_e4m3fn, torch.complex64):
                made.register_buffer(f"of_{str(dtype)[6:]}", (values * 10).to(dtype))
            made.register_buffer("mask", torch.full((4, 4), -float("inf")).triu(seed))
            return made

        for convert in (dict, OrderedDict, lambda w: ((k, v) for k, v in w.items())):
            ours, theirs = module(0), module(1)
            addresses = [buffer.data_ptr() for buffer in ours.buffers()]
            self.assertEqual(reload(ours, convert(theirs.state_dict())), set(theirs.state_dict()))
            self.assertEqual(bits(ours), bits(theirs))
            self.assertEqual([buffer.data_ptr() for buffer in ours.buffers()], addresses)

    def test_a_buffer_of_integers_wraps_no_others(self):
        module = nn.Linear(2, 2)
        for name, value in {"table": torch.arange(4, dtype=torch.int8), "steps": torch.tensor(3)}.items():
            module.register_buffer(name, value)
        before = bits(module)
        for name, value in {"table": torch.rand(4) * 300, "steps": torch.tensor(3.5)}.items():
            for new in (value, value.int()):
                with self.assertRaises(liveweight.Error) as caught:
                    reload(module, {**module.state_dict(), name: new})
                self.assertEqual((caught.exception.code, caught.exception.names), ("wrong_dtype", [name]))
                self.assertEqual(bits(module), before)

    def test_a_module_may_refer_to_its_parent(self):
        module, new = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        for part in module:
            part.parent = module
        self.assertEqual(reload(module, new.state_dict()), set(new.state_dict()))
        self.assertEqual(bits(module), bits(new))

    def assert_refused(self, new, code, name):
        for convert in (dict, lambda w: ((k, v) for k, v in w.items())):
            with self.assertRaises(liveweight.Error) as caught:
                reload(self.model, convert(new))
            self.assertEqual((caught.exception.code, caught.exception.names[0]), (code, name))
            self.assertEqual(bits(self.model), self.before)
        reload(self.model, weights(1))
        self.assertEqual(bits(self.model), bits(quantized(1, self.configuration)))
        reload(self.model, weights(0))

    def test_bad_weights_change_nothing(self):
        new = weights(1)
        self.assert_refused({k: v for k, v in new.items() if k != "3.weight"}, "missing_tensor", "3.weight")
        self.assert_refused({**new, "9.weight": new["3.weight"]}, "unknown_tensor", "9.weight")
        self.assert_refused({**new, "3.weight": new["3.weight"].t()}, "wrong_shape", "3.weight")
        self.assert_refused({**new, "3.weight": new["3.weight"].int()}, "wrong_dtype", "3.weight")
        for name in ("0.weight", "4.weight", "2.weight"):
            bad = new[name].clone()
            bad.view(-1)[5] = float("nan")
            self.assert_refused({**new, name: bad}, "non_finite", name)

    def test_of_several_bad_tensors_the_modules_first_is_named_whatever_order_they_come_in(self):
        new = weights(1)
        for name in ("1.weight", "4.weight", "4.bias"):
            new[name].view(-1)[-1] = float("inf")
        for items in (list(new.items()), list(new.items())[::-1]):
            with self.assertRaises(liveweight.Error) as caught:
                reload(self.model, dict(items))
            self.assertEqual((caught.exception.code, caught.exception.names), ("non_finite", ["1.weight"]))
            self.assertEqual(bits(self.model), self.before)

    def test_of_several_bad_elements_of_a_large_tensor_the_first_is_named_and_many_reloads_are_given_up(self):
        model = nn.Sequential(nn.Linear(1024, 4096, bias=False, dtype=torch.bfloat16))
        quantize_(model, self.configuration)
        before = bits(model)
        for row in (4000, 77, 2500):
            bad = torch.randn(4096, 1024, dtype=torch.bfloat16)
            bad[row:, 3] = float("nan")
            with self.assertRaisesRegex(liveweight.Error, rf"at \[{row}, 3\]"):
                reload(model, {"0.weight": bad})
        for _ in range(50):
            with self.assertRaisesRegex(liveweight.Error, "9.weight"):
                reload(model, {"0.weight": torch.zeros(4096, 1024, dtype=torch.bfloat16), "9.weight": bad})
        self.assertEqual(bits(model), before)

    def test_an_iterator_that_raises_changes_nothing(self):
        new = list(weights(1).items())
        for count in range(len(new)):
            def stream():
                yield from new[:count]
                raise KeyboardInterrupt
            with self.assertRaises(KeyboardInterrupt):
                reload(self.model, stream())
            self.assertEqual(bits(self.model), self.before)

    def test_tensors_of_the_modules_own_change_places_as_copies_would(self):
        model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)).requires_grad_(False)
        own = model.state_dict()
        first, second = ({name: value.clone() for name, value in part.state_dict().items()} for part in model)
        swapped = {f"{1 - int(name[0])}{name[1:]}": value for name, value in own.items()}
        for given in (dict(swapped), list(swapped.items()), iter(list(swapped.items()))):
            first, second = second, first
            reload(model, given)
            for part, expected in zip(model, (first, second)):
                for name, value in expected.items():
                    self.assertTrue(torch.equal(part.state_dict()[name], value), name)

    def test_a_tensor_with_its_negative_bit_set_is_what_it_says(self):
        new = weights(1)
        for convert in (dict, lambda w: iter(list(w.items()))):
            reload(self.model, convert({name: torch._neg_view(-value) if value.is_floating_point() else value
                                        for name, value in new.items()}))
            self.assertEqual(bits(self.model), bits(quantized(1, self.configuration)))
        codes, scales = liveweight.quantize(torch._neg_view(new["1.weight"]), "int8_per_channel")[:2]
        expected = liveweight.quantize(-new["1.weight"], "int8_per_channel")
        self.assertTrue(torch.equal(torch.from_dlpack(codes), torch.from_dlpack(expected[0])))

    def test_wrappers_of_tensors_are_refused_by_name(self):
        class Wrapper(torch.Tensor):
            @staticmethod
            def __new__(cls, inner):
                return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

            __torch_dispatch__ = classmethod(lambda cls, func, types, args=(), kwargs=None: args[0])

        wrapper = Wrapper(weights(1)["1.weight"])
        for convert in (dict, lambda w: iter(list(w.items()))):
            with self.assertRaises(liveweight.Error) as caught:
                reload(self.model, convert({**weights(1), "1.weight": wrapper}))
            self.assertEqual((caught.exception.code, caught.exception.names), ("unsupported", ["1.weight"]))
            self.assertIn("Wrapper", str(caught.exception))
            self.assertEqual(bits(self.model), self.before)
        with self.assertRaises(liveweight.Error):
            liveweight.quantize(wrapper, "int8_per_channel")

    def test_codes_whose_scales_nobody_knows_are_refused_and_not_cast(self):
        def module(codes, **others):
            made = nn.Module()
            made.weight = nn.Parameter(codes, requires_grad=False)
            for name, value in others.items():
                setattr(made, name, nn.Parameter(value, requires_grad=False))
            return made

        zeros, eights = torch.zeros(64, 64, dtype=torch.int8), torch.zeros(64, 64).to(torch.float8_e4m3fn)
        experts = torch.zeros(2, 64, 64).to(torch.float8_e4m3fn)
        for made in (module(zeros), module(zeros, weight_scale=torch.ones(64, 2)), module(zeros, weight_scale=torch.ones(1)),
                     module(zeros, weight_scale=torch.ones(64), weight_zero_point=torch.ones(64, dtype=torch.int8)),
                     module(eights, weight_scale=torch.ones(64, 2)), module(eights.to(torch.float8_e5m2), weight_scale=torch.ones(64)),
                     module(experts, weight_scale=torch.ones(2, 64, 1))):
            with self.assertRaises(liveweight.Error) as caught:
                reload(made, {"weight": torch.randn(made.weight.shape).bfloat16()})
            self.assertEqual((caught.exception.code, caught.exception.names), ("unsupported", ["weight"]))
            self.assertFalse(made.weight.view(torch.int8).any())

    def test_a_partial_reload_only_where_asked_for(self):
        part = {"3.weight": weights(1)["3.weight"]}
        self.assert_refused(part, "missing_tensor", "0.weight")
        self.assertEqual(reload(self.model, part, partial=True), {"3.weight"})
        expected = quantized(1, self.configuration)
        for a, b in zip(inner_tensors(self.model[3].weight), inner_tensors(expected[3].weight)):
            self.assertTrue(torch.equal(a, b))

    def test_a_configuration_by_names_is_followed(self):
        configuration = FqnToConfig({"1": Int8WeightOnlyConfig(version=2, granularity=PerTensor()), "re:[34]": Float8WeightOnlyConfig()})
        model = quantized(0, configuration)
        reload(model, weights(1), config=configuration)
        self.assertEqual(bits(model), bits(quantized(1, configuration)))

    def test_a_parameter_that_cannot_be_written_is_refused_by_name_before_anything_is(self):
        self.model.gain = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16).expand(8), requires_grad=False)
        before = bits(self.model)
        for new in ({**weights(1), "gain": torch.ones(8)}, {"gain": torch.ones(8), **weights(1)}):
            with self.assertRaises(liveweight.Error) as caught:
                reload(self.model, new)
            self.assertEqual((caught.exception.code, caught.exception.names), ("unsupported", ["gain"]))
            self.assertEqual(bits(self.model), before)

    def test_an_unknown_class_without_a_configuration_is_refused_by_name(self):
        self.model = quantized(0, Int8WeightOnlyConfig(version=2, granularity=PerTensor()))
        before = bits(self.model)
        with self.assertRaises(liveweight.Error) as caught:
            reload(self.model, weights(1))
        self.assertEqual((caught.exception.code, caught.exception.names), ("unsupported", ["1.weight"]))
        self.assertEqual(bits(self.model), before)

    def test_tensors_of_another_dtype_are_rounded_as_copy_rounds(self):
        reload(self.model, {name: value.float() if value.is_floating_point() else value for name, value in weights(1).items()})
        self.assertEqual(bits(self.model), bits(quantized(1, self.configuration)))


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class Mappings(unittest.TestCase):
    def test_only_a_private_mapping_of_a_file_that_is_still_there_is_one(self):
        import ctypes
        import mmap
        import tempfile

        from liveweight.torch._lifetimes import Mappings
        mappings = Mappings()
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(1 << 20)
            for access, private in [(mmap.ACCESS_COPY, True), (mmap.ACCESS_WRITE, False)]:
                mapped = mmap.mmap(file.fileno(), 0, access=access)
                first = ctypes.c_char.from_buffer(mapped)
                address = ctypes.addressof(first)
                self.assertEqual([mappings.is_file(address) for _ in range(3)], [private] * 3)
                del first
                mapped.close()
                self.assertFalse(mappings.is_file(address))


if __name__ == "__main__":
    unittest.main()
