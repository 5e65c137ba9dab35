"""The functions that vLLM calls, beside a straightforward implementation of what they are for."""
import gc
import unittest
import weakref
from types import SimpleNamespace

from online_model import HAS_TORCHAO, OnlineModelTest

if HAS_TORCHAO:
    import torch
    from online_model import (Loader, Model, bits, checkpoint, load_weights, loaded_model, reload_weights, shard_loader, snapshot,
                              straightforward)
    from torch import nn
    from torchao.quantization import (Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, PerRow,
                                      PerTensor, quantize_)

    import liveweight
    from liveweight.torch.online_quantization import maybe_save_metadata_and_attributes_for_weight_reloading, partial_reload


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class OnlineQuantization(OnlineModelTest):
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

    def test_whatever_a_loader_does_to_a_module_before_it_fails_is_undone(self):
        norm, arena = self.model.layers[0].norm, torch.zeros(4)
        norm.register_buffer("low", arena[:2])
        norm.register_buffer("high", arena[2:])
        norm.plain, norm.notes = torch.zeros(2), ["a note"]
        (down, other), plain = (layer.down.weight for layer in self.model.layers), self.model.embed.weight

        def look():
            values = [tensor.tolist() for tensor in (norm.low, norm.high, norm.plain)]
            return values, list(norm._forward_hooks), norm.notes[:], type(norm), list(self.model.state_dict()), snapshot(self.model)

        def resize():
            norm.low.resize_(1)
            norm.low.fill_(7)

        for spoil in (lambda: norm.low.fill_(7), lambda: norm.high.fill_(7), lambda: arena.fill_(7), lambda: norm.plain.fill_(7),
                      lambda: setattr(norm.low, "data", torch.ones(2)), lambda: norm.high.set_(torch.ones(5)), resize,
                      lambda: setattr(plain, "data", plain * 2), lambda: down.copy_(other),
                      lambda: norm.register_forward_hook(print), lambda: norm.notes.append("another"),
                      lambda: setattr(norm, "__class__", nn.Identity), lambda: setattr(down, "odd", 1),
                      lambda: norm.register_buffer("low", torch.ones(2), persistent=False)):
            def touch(_):
                spoil()
                raise RuntimeError("injected")
            loader, before = Loader(self.model), look()
            loader.touch = touch
            with self.assertRaisesRegex(RuntimeError, "injected"):
                reload_weights(loader, self.generator(1))
            self.assertTrue(look() == before)

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

    def test_what_an_iterator_writes_itself_is_missing_and_the_error_says_why(self):
        def writes(weights):
            for name, tensor in weights:
                if name == "0.down":
                    self.model.layers[0].down.weight.data.copy_(tensor)
                else:
                    yield name, tensor
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: .* got none .* what an iterator of weights"):
            reload_weights(Loader(self.model), writes(self.generator(1)))
        with self.assertRaisesRegex(liveweight.Error, r"layers.0.down.weight: .* got none \(something of 1 tensors is missing\)"):
            reload_weights(Loader(self.model), (item for item in self.generator(1) if item[0] != "0.down"))

    def test_a_partial_reload_only_where_asked_for(self):
        weights = {"0.down": checkpoint(1, self.dtype)["0.down"]}
        with self.assertRaises(liveweight.Error):
            reload_weights(Loader(self.model), weights.items())
        with partial_reload(self.model):
            self.assertEqual(reload_weights(Loader(self.model), weights.items()), {"0.down"})
        whole = loaded_model(self.configuration, self.dtype, seed=1)
        self.assertTrue(torch.equal(self.model.layers[0].down.weight.qdata, whole.layers[0].down.weight.qdata))
        self.assertFalse(torch.equal(self.model.layers[1].down.weight.qdata, whole.layers[1].down.weight.qdata))

    def test_a_buffer_may_have_a_name_that_vllm_uses(self):
        self.model.register_buffer("conv_weights", torch.ones(3))
        self.check_reload(1, self.generator(1))
        self.assertTrue(torch.equal(self.model.conv_weights, torch.ones(3)))

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

    def test_a_module_may_refer_to_its_parent(self):
        model = Model(self.dtype)
        for layer in model.layers:
            layer.model = model
        maybe_save_metadata_and_attributes_for_weight_reloading(model, SimpleNamespace(quantization="torchao"))
        reload_weights(Loader(model), self.generator(1))
        expected = Model(self.dtype)
        torch.no_grad()(load_weights)(Loader(expected), self.generator(1))
        self.assertEqual(bits(model), bits(expected))

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
