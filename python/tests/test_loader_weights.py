"""What loaders may do with the weights that they are given: their memory, and the containers that they come in."""
import concurrent.futures
import ctypes
import unittest
import unittest.mock
from collections import OrderedDict

from online_model import HAS_TORCHAO, OnlineModelTest

if HAS_TORCHAO:
    import torch
    from online_model import Loader, bits, checkpoint, load_weights, loaded_model, reload_weights
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, PerTensor

    from liveweight.torch._session import Session
    from liveweight.torch.online_quantization import support_quantized_model_reload_from_hp_weights

    def reload_through(changed, model, weights):
        """By a loader that first makes something else of the weights that it gets."""
        def load(loader, weights, *, mapper=None):
            return load_weights(loader, changed(weights))
        return torch.no_grad()(support_quantized_model_reload_from_hp_weights(load))(Loader(model), weights)


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class LoadersWeights(OnlineModelTest):
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

    def test_a_loader_may_free_what_it_was_given(self):
        def empties(param, loaded):
            param.data.copy_(loaded)
            loaded.untyped_storage().resize_(0)

        def empties_the_one_before(param, loaded):
            for tensor in earlier:
                tensor.untyped_storage().resize_(0)
            param.data.copy_(loaded)
            earlier[:] = [loaded]

        def empties_what_it_put_in_place(param, loaded):
            param.data = loaded
            loaded.untyped_storage().resize_(0)

        def has_other_data(param, loaded):
            param.data.copy_(loaded)
            loaded.data = torch.zeros_like(loaded)

        def has_no_data(param, loaded):
            param.data.copy_(loaded)
            loaded.data = loaded.new_empty(0)

        def empties_in_a_thread(param, loaded):
            with concurrent.futures.ThreadPoolExecutor(1) as executor:
                param.data.copy_(loaded)
                executor.submit(empties_the_one_before, param, loaded).result()

        resize = torch.UntypedStorage.resize_
        for configuration in (Int8WeightOnlyConfig(version=2), Float8WeightOnlyConfig(granularity=PerTensor())):
            self.configuration, self.model = configuration, loaded_model(configuration, self.dtype)
            for loader in (empties, empties_the_one_before, empties_what_it_put_in_place, has_other_data, has_no_data,
                           empties_in_a_thread):
                earlier = []
                self.load_down_weights_by(loader)
                self.check_reload(1, self.generator(1))
                self.check_reload(2, checkpoint(2, self.dtype).items())
        self.assertIs(torch.UntypedStorage.resize_, resize)

    def check_reload_through(self, changed, weights):
        reload_through(changed, self.model, weights)
        self.assertTrue(bits(self.model) == bits(loaded_model(self.configuration, self.dtype, seed=1)))
        reload_weights(Loader(self.model), self.generator(2))

    def test_a_loader_may_do_with_a_container_what_it_could_at_the_first_load(self):
        def twice(weights):
            self.assertEqual(len({name for name, _ in weights}), len(weights))
            self.assertEqual([name for name, _ in weights], list(checkpoint(1, self.dtype)))
            return weights

        def by_number(weights):
            self.assertEqual(weights[1:][0][0], weights[1][0])
            return (weights[i] for i in range(len(weights)))

        def by_name(weights):
            return ((name, weights[name]) for name in weights if name in weights)

        def one_by_one(weights):
            return (weights.popitem() for _ in range(len(weights)))

        def views(weights):
            self.assertIn(next(iter(weights.items())), weights.items())
            return zip(weights.keys(), weights.copy().values())

        views_of_items = (dict.items, lambda w: OrderedDict(w).items())
        for kinds, ways in [((lambda w: list(w.items()), lambda w: tuple(w.items())), (twice, by_number, reversed, list, sorted)),
                            (views_of_items, (twice, reversed, list, dict.fromkeys)),
                            ((dict, OrderedDict), (by_name, one_by_one, views, lambda w: w.items(), lambda w: dict(w).items()))]:
            for kind in kinds:
                for way in ways:
                    self.check_reload_through(way, kind(checkpoint(1, self.dtype)))

    def test_what_a_loader_takes_of_containers_is_read_where_it_lies(self):
        put_rows = Session._put_rows
        for way, kind in [(iter, list), (lambda w: (w[i] for i in range(len(w))), tuple), (iter, OrderedDict.items),
                          (OrderedDict.items, OrderedDict), (lambda w: [(name, w[name]) for name in w], dict)]:
            weights = OrderedDict(checkpoint(1, self.dtype))
            with unittest.mock.patch.object(Session, "_put_rows", autospec=True, side_effect=put_rows) as puts:
                reload_through(way, self.model, weights.items() if kind is OrderedDict.items else kind(weights.items()))
            copied = {target.name for _, target, _, _, lasting in (call.args for call in puts.call_args_list) if not lasting}
            self.assertEqual(copied, {"layers.0.down.weight", "layers.1.down.weight"})  # loaded by columns

    def test_what_a_loader_makes_of_containers_it_may_use_again(self):
        def own(weights):
            buffer = torch.empty(128 * 64, dtype=self.dtype)
            for i, (name, tensor) in enumerate(weights):
                weights[i] = name, buffer[:tensor.numel()].view(tensor.shape)
            for name, piece in weights:
                piece.copy_(checkpoint(1, self.dtype)[name])
                yield name, piece
                ctypes.memset(buffer.data_ptr(), 0, buffer.nbytes)
        self.check_reload_through(own, list(checkpoint(1, self.dtype).items()))

    def test_an_iterable_may_be_gone_over_twice(self):
        class Weights:
            def __iter__(_):
                return self.generator(1)

        def twice(weights):
            self.assertEqual({name for name, _ in weights}, set(checkpoint(1, self.dtype)))
            return weights
        self.check_reload_through(twice, Weights())

    def test_a_container_that_is_not_known_is_the_loaders_own(self):
        class Weights(dict):
            pass
        weights = Weights(checkpoint(1, self.dtype))

        def items(given):
            self.assertIs(given, weights)
            return given.items()
        self.check_reload_through(items, weights)

    def test_what_is_no_name_and_tensor_is_the_loaders_own(self):
        weights = checkpoint(1, self.dtype)
        for kind in (list, iter):
            self.check_reload_through(lambda items: ((name, make()) for name, make in items),
                                      kind([(name, lambda tensor=tensor: tensor) for name, tensor in weights.items()]))
            self.check_reload_through(lambda items: ((name, tensor) for name, _, tensor in items),
                                      kind([(name, None, tensor) for name, tensor in weights.items()]))
            self.check_reload_through(lambda items: [(name, weights[name]) for name in items], kind(list(weights)))


if __name__ == "__main__":
    unittest.main()
