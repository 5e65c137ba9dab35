"""The functions that vLLM calls, beside a straightforward implementation of what they are for: restore high-precision
parameters, let the loader load, quantize, copy into the old ones."""
import ctypes
import gc
import importlib.util
import os
import types
import unittest
import unittest.mock
import weakref
from types import SimpleNamespace

HAS_TORCHAO = all(importlib.util.find_spec(package) for package in ("torch", "torchao"))
if HAS_TORCHAO:
    import torch
    from torch import nn
    from torchao.quantization import (Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, PerRow,
                                      PerTensor, quantize_)

    import liveweight
    from liveweight.torch._fallback import inner_tensors
    from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading, partial_reload,
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


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class OnlineQuantization(unittest.TestCase):
    def setUp(self):
        self.configuration, self.dtype = Int8WeightOnlyConfig(version=2), torch.bfloat16
        self.model = loaded_model(self.configuration, self.dtype)

    def generator(self, seed, **changes):
        return ((name, tensor) for name, tensor in {**checkpoint(seed, self.dtype), **changes}.items())

    def test_a_hundred_reloads_equal_the_straightforward_way(self):
        twin = loaded_model(self.configuration, self.dtype)
        identities, addresses, _, _ = snapshot(self.model)
        for seed in range(100):
            updated = reload_weights(Loader(self.model), self.generator(seed))
            self.assertEqual(updated, straightforward(twin, self.configuration, checkpoint(seed, self.dtype).items(), self.dtype))
            self.assertEqual(bits(self.model), bits(twin))
        self.assertEqual(snapshot(self.model)[:2], (identities, addresses))
        self.assertIs(self.model.head.weight, self.model.embed.weight)

    def test_every_scheme_and_dtype(self):
        for configuration in (Float8WeightOnlyConfig(granularity=PerRow()), Float8WeightOnlyConfig(granularity=PerTensor()),
                              IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2)):
            for dtype in (torch.bfloat16, torch.float32):
                with self.subTest(configuration, dtype=dtype):
                    model, twin = loaded_model(configuration, dtype), loaded_model(configuration, dtype)
                    for seed, convert in ((1, dict.items), (2, lambda w: (item for item in w.items()))):
                        reload_weights(Loader(model), convert(checkpoint(seed, dtype)))
                        straightforward(twin, configuration, checkpoint(seed, dtype).items(), dtype)
                        self.assertEqual(bits(model), bits(twin))

    def test_an_iterator_may_ask_the_model_where_tensors_are_wanted(self):
        def moved():
            for name, tensor in self.generator(1):
                yield name, tensor.to(next(self.model.parameters()).device)
        twin = loaded_model(self.configuration, self.dtype, seed=1)
        reload_weights(Loader(self.model), moved())
        self.assertEqual(bits(self.model), bits(twin))

    def test_tensors_without_values_are_refused(self):
        before = snapshot(self.model)
        with self.assertRaises(liveweight.Error) as caught:
            reload_weights(Loader(self.model), ((name, tensor.to("meta")) for name, tensor in self.generator(1)))
        self.assertEqual((caught.exception.code, caught.exception.names), ("unsupported", ["embed"]))
        self.assertEqual(snapshot(self.model), before)

    def test_a_class_that_no_adapter_knows_is_quantized_by_the_configuration(self):
        configuration = Int8WeightOnlyConfig(version=2, granularity=PerTensor())
        model, twin = loaded_model(configuration, self.dtype), loaded_model(configuration, self.dtype)
        model._model_config = SimpleNamespace(quantization="torchao", torchao_config=configuration)
        reload_weights(Loader(model), self.generator(1))
        straightforward(twin, configuration, checkpoint(1, self.dtype).items(), self.dtype)
        self.assertEqual(bits(model), bits(twin))

    def test_the_loader_sees_original_shapes_dtypes_attributes_and_methods(self):
        seen = []

        def touch(layer):
            weight = layer.norm.weight
            self.assertIs(weight.weight_loader.__self__, weight)
            self.assertIs(layer.qkv.weight.weight_loader, shard_loader)
            self.assertEqual((layer.qkv.weight.shape, layer.qkv.weight.dtype), ((96, 64), self.dtype))
            self.assertEqual(layer.qkv.weight.device, torch.device("cpu"))
            self.assertIsInstance(layer.qkv.weight, nn.Parameter)
            self.assertIs(self.model.head.weight, self.model.embed.weight)
            seen.append(weight.odd)
        loader = Loader(self.model)
        loader.touch = touch
        odd = [layer.norm.weight.odd for layer in self.model.layers]
        reload_weights(loader, self.generator(1))
        self.assertTrue(all(entry in odd for entry in seen))

    def test_an_exception_from_the_loader_at_every_call_leaves_the_model(self):
        before = snapshot(self.model)
        calls = len(checkpoint(0, self.dtype)) - 1
        for at in range(calls):
            left = [at]

            def touch(layer):
                if left[0] == 0:
                    layer.norm.weight.odd["anything"], layer.surprise = None, 1
                    raise RuntimeError("injected")
                left[0] -= 1
            loader = Loader(self.model)
            loader.touch = touch
            odd = [dict(layer.norm.weight.odd) for layer in self.model.layers]
            with self.assertRaisesRegex(RuntimeError, "injected"):
                reload_weights(loader, self.generator(1))
            for layer, kept in zip(self.model.layers, odd):
                layer.norm.weight.odd.update(kept)  # what the test itself broke, inside an object of its own
                self.assertFalse(hasattr(layer, "surprise"))
            self.assertEqual(snapshot(self.model), before)
        reload_weights(Loader(self.model), self.generator(1))
        self.assertNotEqual(bits(self.model), before[3])

    def test_bad_weights_change_nothing(self):
        good = checkpoint(1, self.dtype)
        nan = good["0.k"].clone()
        nan[3, 3] = float("nan")
        before = snapshot(self.model)
        missing = [("missing_tensor", {k: v for k, v in good.items() if k != name}) for name in ("1.v", "1.expert2", "0.norm")]
        for code, weights in [*missing, ("non_finite", {**good, "0.k": nan})]:
            for convert in (dict.items, lambda w: (item for item in w.items())):
                with self.assertRaises(liveweight.Error) as caught:
                    reload_weights(Loader(self.model), convert(weights))
                self.assertEqual(caught.exception.code, code)
                self.assertEqual(snapshot(self.model), before)
        for error, name, tensor in [(AssertionError, "0.k", good["0.k"].t()), (ValueError, "nonsense", good["0.k"])]:
            with self.assertRaises(error):
                reload_weights(Loader(self.model), {**good, name: tensor}.items())
            self.assertEqual(snapshot(self.model), before)

    def test_a_partial_reload_only_where_asked_for(self):
        weights = {"0.down": checkpoint(1, self.dtype)["0.down"]}
        with self.assertRaises(liveweight.Error):
            reload_weights(Loader(self.model), weights.items())
        with partial_reload(self.model):
            self.assertEqual(reload_weights(Loader(self.model), weights.items()), {"0.down"})
        whole = loaded_model(self.configuration, self.dtype, seed=1)
        self.assertTrue(torch.equal(self.model.layers[0].down.weight.qdata, whole.layers[0].down.weight.qdata))
        self.assertFalse(torch.equal(self.model.layers[1].down.weight.qdata, whole.layers[1].down.weight.qdata))

    def test_operations_that_cannot_be_recorded_run_on_a_temporary(self):
        def odd_loader(param, loaded):
            param.data.zero_()
            param.data.add_(loaded.to(param.device) * 2)
            scratch = torch.empty_like(param)
            scratch.copy_(param)
            param.data.copy_(scratch * 0.5)
        for layer in self.model.layers:
            self.model.recorded_weight_attr[f"layers.{list(self.model.layers).index(layer)}.down.weight"]["weight_loader"] = odd_loader, False
        for seed in (1, 2):
            reload_weights(Loader(self.model), self.generator(seed))
            self.assertEqual(bits(self.model), bits(loaded_model(self.configuration, self.dtype, seed=seed)))

    def load_down_weights_by(self, loader):
        for i in range(2):
            self.model.recorded_weight_attr[f"layers.{i}.down.weight"]["weight_loader"] = loader, False

    def check_reload(self, seed, weights):
        reload_weights(Loader(self.model), weights)
        self.assertEqual(bits(self.model), bits(loaded_model(self.configuration, self.dtype, seed=seed)))

    def test_a_view_of_another_dtype_is_written_by_its_bytes(self):
        for dtype in (torch.int16, torch.uint8, torch.int32):
            self.load_down_weights_by(lambda param, loaded, dtype=dtype: param.data.view(dtype).copy_(loaded.view(dtype)))
            self.check_reload(1, self.generator(1))
            self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_a_view_may_be_turned_in_place(self):
        def turned(param, loaded):
            view = param.data[:, :64]  # square, so that nothing else tells
            view.t_()
            view.copy_(loaded[:, :64].t())
            param.data[:, 64:].copy_(loaded[:, 64:])

        def unsqueezed(param, loaded):
            view = param.data
            view.unsqueeze_(0)
            view.copy_(loaded.unsqueeze(0))

        for loader in (turned, unsqueezed):
            self.load_down_weights_by(loader)
            self.check_reload(1, self.generator(1))
            self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_half_of_an_element_is_none(self):
        self.load_down_weights_by(lambda param, loaded: param.data.view(torch.uint8)[:, 1:].copy_(loaded.view(torch.uint8)[:, 1:]))
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got some"):
            reload_weights(Loader(self.model), self.generator(1))

    def test_pieces_may_overlap(self):
        def overlapping(param, loaded):
            param.data[:40].copy_(loaded[:40] * 3)
            param.data[20:].copy_(loaded[20:])
            param.data[:20].copy_(loaded[:20])
        self.load_down_weights_by(overlapping)
        self.check_reload(1, self.generator(1))
        self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_an_operation_may_write_several_parameters(self):
        self.load_down_weights_by(lambda param, loaded: torch._foreach_copy_([param.data[:9], param.data[9:]], [loaded[:9], loaded[9:]]))
        self.check_reload(1, self.generator(1))

    def test_an_operation_on_what_did_not_come_brings_nothing(self):
        def changes(param, loaded):
            param.data[20:].copy_(loaded[20:])
            param.data.mul_(2)

        def writes_some_rows(param, loaded):
            param.data.index_copy_(0, torch.arange(20), loaded[:20])

        def writes_some_elements(param, loaded):
            param.data[loaded > 0] = loaded[loaded > 0]

        before = snapshot(self.model)
        for loader in (changes, writes_some_rows, writes_some_elements):
            self.load_down_weights_by(loader)
            for weights in (checkpoint(1, self.dtype).items(), self.generator(1)):
                with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got some"):
                    reload_weights(Loader(self.model), weights)
                self.assertEqual(snapshot(self.model), before)

    def test_operations_that_write_some_elements_each_bring_all_of_them(self):
        def writes(param, loaded):
            param.data.index_copy_(0, torch.arange(0, 64, 2), loaded[::2])
            param.data[1::2].masked_scatter_(loaded[1::2] > 0, loaded[1::2][loaded[1::2] > 0])
            param.data[1::2] = torch.where(loaded[1::2] > 0, param.data[1::2], loaded[1::2])
        self.load_down_weights_by(writes)
        self.check_reload(1, self.generator(1))

    def test_coming_back_to_what_is_quantized_already_is_refused_once(self):
        def again(seed):
            weights = checkpoint(seed, self.dtype)
            first = {name: tensor * 2 if name.endswith("down") else tensor for name, tensor in weights.items()}
            return (item for item in [*first.items(), ("0.down", torch.ones(1)), ("1.down", torch.ones(1))])

        self.load_down_weights_by(lambda param, loaded: param.data.mul_(0.5) if loaded.numel() == 1 else param.data.copy_(loaded))
        before = snapshot(self.model)
        for _ in range(2):  # one parameter after the other
            with self.assertRaisesRegex(liveweight.Error, "the next reload will hold it whole"):
                reload_weights(Loader(self.model), again(1))
            self.assertEqual(snapshot(self.model), before)
        self.check_reload(1, again(1))
        self.check_reload(2, again(2))

    def test_reading_what_is_quantized_already_is_refused_once(self):
        sums = []

        def reads(param, loaded):
            if loaded.numel() > 1:
                param.data.copy_(loaded)
                return
            param.data[0].copy_(torch.zeros(96))
            sums.append(param.data.sum().item())

        def weights():
            return (item for item in [*checkpoint(1, self.dtype).items(), ("0.down", torch.ones(1))])

        self.load_down_weights_by(reads)
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: .* the next reload will hold it whole"):
            reload_weights(Loader(self.model), weights())
        reload_weights(Loader(self.model), weights())
        expected = checkpoint(1, self.dtype)["0.down"]
        expected[0] = 0
        self.assertEqual(sums, [expected.sum().item()])

    def test_a_loader_may_use_its_own_memory_again(self):
        def through_one_buffer(param, loaded):
            buffer = torch.empty(32, 96, dtype=loaded.dtype)
            for half in (slice(0, 32), slice(32, 64)):
                buffer.copy_(loaded[half])
                param.data[half].copy_(buffer)
                ctypes.memset(buffer.data_ptr(), 0, buffer.nbytes)  # as numpy would write there, unseen

        for configuration in (Int8WeightOnlyConfig(version=2), Float8WeightOnlyConfig(granularity=PerTensor())):
            self.configuration, self.model = configuration, loaded_model(configuration, self.dtype)
            self.load_down_weights_by(through_one_buffer)
            self.check_reload(1, self.generator(1))
            self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_a_loader_may_write_to_what_it_was_given(self):
        def changes(param, loaded):
            for tensor in earlier:  # that came before
                tensor.fill_(7)
            param.data[:32].copy_(loaded[:32])
            loaded[:32].zero_()
            param.data[32:].copy_(loaded[32:] + 0)
            loaded.neg_()
            earlier.append(loaded)

        def changes_later(param, loaded):
            param.data[:20].copy_(loaded[:20])
            param.data[20:].copy_(loaded[20:])
            for tensor in earlier:
                tensor[10:30].zero_()
            earlier.append(loaded)

        for configuration in (Int8WeightOnlyConfig(version=2), Float8WeightOnlyConfig(granularity=PerTensor())):
            self.configuration, self.model = configuration, loaded_model(configuration, self.dtype)
            for loader in (changes, changes_later):
                earlier = []
                self.load_down_weights_by(loader)
                self.check_reload(1, self.generator(1))
                self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_a_tensor_in_the_parameters_place_may_be_written_later(self):
        buffers = []

        def places(param, loaded):
            buffer = torch.zeros_like(loaded)
            param.data = buffer
            buffer[:9] = 5
            buffers.append((buffer, loaded.clone()))
            if len(buffers) == 2:
                for buffer, whole in buffers:
                    torch.add(whole, 0, out=buffer)

        self.load_down_weights_by(places)
        self.check_reload(1, self.generator(1))
        buffers.clear()
        self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_padding_behind_what_was_copied_needs_no_temporary(self):
        """As vLLM pads vocabularies."""
        def padding_loader(param, loaded):
            param[:-32].data.copy_(loaded[:-32])
            param[-32:].data.fill_(0.5)
        for i in range(2):
            self.model.recorded_weight_attr[f"layers.{i}.down.weight"]["weight_loader"] = padding_loader, False
        with unittest.mock.patch("liveweight.torch._session.Session.materialize") as materialize:
            reload_weights(Loader(self.model), self.generator(1))
        materialize.assert_not_called()
        padded = checkpoint(1, self.dtype)
        padded["0.down"][-32:] = padded["1.down"][-32:] = 0.5
        expected = loaded_model(self.configuration, self.dtype)
        reload_weights(Loader(expected), padded.items())
        self.assertEqual(bits(self.model), bits(expected))

    def test_a_tensor_put_in_the_parameters_place_counts(self):
        def replacing_loader(param, loaded):
            param.data = loaded.clone()
        def module_loader(param, loaded):
            self.model.layers[1].down.weight = nn.Parameter(loaded.clone(), requires_grad=False)
        self.model.recorded_weight_attr["layers.0.down.weight"]["weight_loader"] = replacing_loader, False
        self.model.recorded_weight_attr["layers.1.down.weight"]["weight_loader"] = module_loader, False
        reload_weights(Loader(self.model), self.generator(1))
        self.assertEqual(bits(self.model), bits(loaded_model(self.configuration, self.dtype, seed=1)))

    def test_a_tie_that_quantization_broke_is_updated_at_both_ends(self):
        def quantize_head(model):
            quantize_(model, self.configuration, filter_fn=lambda module, _: module is model.head)
        quantize_head(self.model)
        self.assertIsNot(self.model.head.weight, self.model.embed.weight)
        reload_weights(Loader(self.model), self.generator(1))
        fresh = Model(self.dtype)
        load_weights_without_grad = torch.no_grad()(load_weights)
        load_weights_without_grad(Loader(fresh), checkpoint(1, self.dtype).items())
        quantize_head(fresh)
        self.assertTrue(torch.equal(self.model.head.weight.qdata, fresh.head.weight.qdata))
        self.assertTrue(torch.equal(self.model.embed.weight, fresh.embed.weight))

    def test_what_a_loader_writes_into_live_tensors_itself_does_not_mix_with_the_new_weights(self):
        def parts(model):
            weights = [layer.down.weight for layer in model.layers]
            return [part for weight in weights for part in (weight.qdata, weight.scale)] + [model.embed.weight]
        expected = loaded_model(self.configuration, self.dtype, seed=1)
        pairs = list(zip(parts(self.model), [part.clone() for part in parts(expected)]))

        @torch.no_grad()
        def spoil():
            for live, new in pairs:
                live.copy_(new)

        def spoiling(weights):
            for item in weights:
                spoil()
                yield item
                spoil()
        reload_weights(Loader(self.model), spoiling(self.generator(1)))
        self.assertTrue(bits(self.model) == bits(expected))
        reload_weights(Loader(self.model), self.generator(2))
        loader = Loader(self.model)
        loader.touch = lambda _: spoil()
        for threads in ("2", "1"):  # what stays is compared with what lives while it comes, and afterwards
            with unittest.mock.patch.dict(os.environ, LIVEWEIGHT_THREADS=threads):
                reload_weights(loader, checkpoint(1, self.dtype).items())
            self.assertTrue(bits(self.model) == bits(expected))
            reload_weights(Loader(self.model), self.generator(2))

    def test_models_that_are_not_quantized_online_pass_through(self):
        for configuration in (SimpleNamespace(quantization=None),
                              SimpleNamespace(quantization="torchao", is_checkpoint_torchao_serialized=True),
                              SimpleNamespace(quantization="torchao", hf_config=SimpleNamespace(
                                  quantization_config={"is_checkpoint_torchao_serialized": True}))):
            model = Model(self.dtype)
            maybe_save_metadata_and_attributes_for_weight_reloading(model, configuration)
            self.assertFalse(getattr(model, "weight_metadata_and_attr_saved", False))
            reload_weights(Loader(model), self.generator(1))
            reload_weights(Loader(model), self.generator(2))
            self.assertTrue(torch.equal(model.embed.weight, checkpoint(2, self.dtype)["embed"]))

    def test_nothing_of_a_reload_stays_behind(self):
        reload_weights(Loader(self.model), self.generator(1))
        gc.collect()
        count = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
        for seed in range(3):
            reload_weights(Loader(self.model), self.generator(seed))
        gc.collect()
        self.assertEqual(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()), count)

    def test_sources_are_let_go_of_at_once(self):
        gc.disable()
        try:
            for convert in (dict.items, lambda w: (item for item in w.items())):
                weights = checkpoint(1, self.dtype)
                tensors = [weakref.ref(tensor) for tensor in weights.values()]
                reload_weights(Loader(self.model), convert(weights))
                del weights
                self.assertFalse(any(reference() for reference in tensors))
        finally:
            gc.enable()


if __name__ == "__main__":
    unittest.main()
