"""What loaders may do with the parameters that they get, and with tensors of their own."""
import concurrent.futures
import os
import unittest
import unittest.mock

from online_model import HAS_TORCHAO, OnlineModelTest

if HAS_TORCHAO:
    import torch
    from online_model import Loader, bits, checkpoint, loaded_model, reload_weights, snapshot
    from torch import nn
    from torchao.quantization import Float8WeightOnlyConfig, PerTensor

    import liveweight


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class Loaders(OnlineModelTest):
    def test_operations_that_cannot_be_recorded_run_on_a_temporary(self):
        def odd_loader(param, loaded):
            param.data.zero_()
            param.data.add_(loaded.to(param.device) * 2)
            scratch = torch.empty_like(param)
            scratch.copy_(param)
            param.data.copy_(scratch * 0.5)
        self.load_down_weights_by(odd_loader)
        for seed in (1, 2):
            self.check_reload(seed, self.generator(seed))

    def test_augmented_assignments_work_as_with_real_parameters(self):
        def to_data(param, loaded):
            param.data.zero_()
            param.data += loaded
            param.data *= 2
            param.data /= 2

        def to_an_attribute(param, loaded):
            layer = next(layer.down for layer in self.model.layers if layer.down.weight is param)
            param.data.copy_(loaded)
            layer.weight *= 2
            layer.weight -= loaded

        for loader in (to_data, to_an_attribute):
            self.load_down_weights_by(loader)
            for seed in (1, 2):
                self.check_reload(seed, self.generator(seed))
                self.check_reload(seed, checkpoint(seed, self.dtype).items())

    def test_a_parameter_takes_no_view_of_another(self):
        self.load_down_weights_by(lambda param, loaded: setattr(param, "data", self.model.layers[0].norm.weight.data))
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected a tensor with values, got one on the meta"):
            reload_weights(Loader(self.model), self.generator(1))

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

    def test_a_wrapper_of_a_tensor_is_copied_by_its_own_operation(self):
        class Wrapper(torch.Tensor):
            @staticmethod
            def __new__(cls, inner):
                made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
                made.inner = inner
                return made

            @classmethod
            def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
                return func(*(arg.inner if isinstance(arg, cls) else arg for arg in args), **(kwargs or {}))

        self.load_down_weights_by(lambda param, loaded: param.data.copy_(Wrapper(loaded.clone())))
        self.check_reload(1, self.generator(1))
        self.check_reload(2, checkpoint(2, self.dtype).items())

    def test_data_of_another_dtype_are_refused_where_they_would_be_quantized(self):
        self.load_down_weights_by(lambda param, loaded: setattr(param, "data", loaded.float()))
        before = bits(self.model)
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected data of .*, got torch.float32"):
            reload_weights(Loader(self.model), self.generator(1))
        self.assertEqual(bits(self.model), before)

    def test_half_of_an_element_is_none(self):
        self.load_down_weights_by(lambda param, loaded: param.data.view(torch.uint8)[:, 1:].copy_(loaded.view(torch.uint8)[:, 1:]))
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got some"):
            reload_weights(Loader(self.model), self.generator(1))

    def test_nan_marks_what_has_not_come(self):
        def poisons_first(param, loaded):
            param.data.fill_(float("nan"))
            self.assertTrue(param.data.isnan().all())
            param.data[20:].copy_(loaded[20:])
            param.data[:20].copy_(loaded[:20])

        def poisons_later(param, loaded):
            param.data[:20].copy_(loaded[:20])
            param.data.add_(1)
            param.data[...] = float("nan")
            param.data.copy_(loaded)

        for loader in (poisons_first, poisons_later):
            self.load_down_weights_by(loader)
            self.check_reload(1, self.generator(1))
            self.check_reload(2, checkpoint(2, self.dtype).items())

        def leaves_some(param, loaded):
            param.data.copy_(loaded)
            param.data[60:].fill_(float("nan"))
        self.load_down_weights_by(leaves_some)
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got some"):
            reload_weights(Loader(self.model), self.generator(1))

    def test_shards_may_come_one_by_one_after_nan(self):
        def shards(param, loaded):
            shard, rows = (0, loaded[1:]) if loaded[0].isnan().all() else (1, loaded)
            if shard == 0:
                param.data.fill_(float("nan"))
            param.data[32 * shard:32 * shard + 32].copy_(rows)

        def pieces(seed):
            for name, tensor in checkpoint(seed, self.dtype).items():
                if name.endswith("down"):
                    yield name, torch.cat([torch.full((1, 96), float("nan"), dtype=self.dtype), tensor[:32]])
                yield name, tensor[32:] if name.endswith("down") else tensor
        self.load_down_weights_by(shards)
        for seed in (1, 2):
            self.check_reload(seed, pieces(seed))
            self.check_reload(seed + 2, list(pieces(seed + 2)))

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

    def test_coming_back_with_a_piece_of_what_has_one_scale_is_refused_once(self):
        def weights(seed):
            return (item for item in [*checkpoint(seed, self.dtype).items(), ("0.down", torch.full((32, 96), 9.0))])

        def by_halves(param, loaded):
            for row in range(0, len(loaded), 32):
                param.data[row:row + 32].copy_(loaded[row:row + 32])

        self.configuration = Float8WeightOnlyConfig(granularity=PerTensor())
        self.model = loaded_model(self.configuration, self.dtype)
        self.load_down_weights_by(by_halves)
        before = snapshot(self.model)
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: .* the next reload will hold it whole"):
            reload_weights(Loader(self.model), weights(1))
        self.assertEqual(snapshot(self.model), before)
        for seed in (1, 2):
            expected = checkpoint(seed, self.dtype)
            expected["0.down"][:32] = 9
            other = loaded_model(self.configuration, self.dtype)
            reload_weights(Loader(self.model), weights(seed))
            reload_weights(Loader(other), expected.items())
            self.assertEqual(bits(self.model), bits(other))

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

    def test_a_loader_may_reload_another_model(self):
        draft = loaded_model(self.configuration, self.dtype)

        def reloads(param, loaded):
            param.data[:9].copy_(loaded[:9])
            reload_weights(Loader(draft), self.generator(3))
            with concurrent.futures.ThreadPoolExecutor(1) as executor:
                executor.submit(torch.no_grad()(param.data[9:].copy_), loaded[9:]).result()
                executor.submit(reload_weights, Loader(draft), self.generator(4)).result()

        self.load_down_weights_by(reloads)
        for seed in (1, 2):
            self.check_reload(seed, self.generator(seed))
            self.assertTrue(bits(draft) == bits(loaded_model(self.configuration, self.dtype, seed=4)))

    def test_tensors_are_on_meta_only_where_a_loader_wants_them_there(self):
        def asks(param, loaded):
            self.assertTrue(torch.empty(3, device="meta").is_meta)
            with torch.device("meta"):
                self.assertTrue(nn.Linear(3, 3).weight.is_meta)
            for view in (param, param.data, param.data[:9]):
                self.assertTrue(torch.equal(loaded.to(view.device), loaded))
                self.assertFalse(loaded.new_empty(3, device=view.device).is_meta)
            param.data.copy_(loaded)
        self.load_down_weights_by(asks)
        self.check_reload(1, self.generator(1))

    def test_padding_behind_what_was_copied_needs_no_temporary(self):
        """As vLLM pads vocabularies."""
        def padding_loader(param, loaded):
            param[:-32].data.copy_(loaded[:-32])
            param[-32:].data.fill_(0.5)
        self.load_down_weights_by(padding_loader)
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
        self.check_reload(1, self.generator(1))

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


if __name__ == "__main__":
    unittest.main()
