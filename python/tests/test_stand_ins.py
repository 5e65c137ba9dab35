"""What loaders get in the place of parameters looks like these, and has memory for those who ask where it is."""
import copy
import ctypes
import pickle
import unittest
import unittest.mock
import warnings

from online_model import HAS_TORCHAO, OnlineModelTest

if HAS_TORCHAO:
    import torch
    from online_model import Loader, bits, checkpoint, reload_weights
    from torch import nn

    import liveweight

    def as_numpy(tensor):
        return tensor.view(torch.int16).numpy()

    def copy_bytes(to, tensor):
        ctypes.memmove(to, tensor.data_ptr(), tensor.nbytes)


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class StandIns(OnlineModelTest):
    def check_loaders(self, *loaders):
        for loader in loaders:
            self.load_down_weights_by(loader)
            for seed in (1, 2):
                self.check_reload(seed, self.generator(seed))
                self.check_reload(seed, checkpoint(seed, self.dtype).items())

    def test_parameters_and_their_views_say_what_real_ones_would(self):
        def asks(param, loaded):
            for tensor in (param, param.data, param.data[:9], param.detach().t().data, param.data.data,
                           *param.data.chunk(2), param.view(-1), param.T):
                said = tensor.device, tensor.is_meta, tensor.is_cpu, tensor.is_cuda
                self.assertEqual(said, (torch.device("cpu"), False, True, False))
                self.assertIn("dtype=torch.bfloat16, device='cpu'", repr(tensor))
            scratch = torch.empty(param.shape, dtype=param.dtype, device=param.data.device)
            param.data.copy_(scratch.copy_(loaded))
        self.check_loaders(asks)

    def test_where_they_are_they_go_without_a_copy(self):
        def to_module(param, loaded):
            param.data.copy_(loaded)
            self.model.to("cpu").cpu()

        def to_view(param, loaded):
            param.data[:9].to(param.device, param.dtype).copy_(loaded[:9])
            param.data[9:].cpu().copy_(loaded[9:])
            param.data.to("cpu", copy=True).zero_()
            param.data.to(param.dtype, False, True).zero_()
            param.data.to(torch.float32).zero_()
        self.check_loaders(to_module, to_view)

    def test_what_is_written_past_torch_comes(self):
        def by_numpy(param, loaded):
            as_numpy(param.data)[...] = as_numpy(loaded)

        def by_views(param, loaded):
            as_numpy(param.data[:9])[...] = as_numpy(loaded[:9])
            param.data[9:].copy_(loaded[9:])

        def by_address(param, loaded):
            copy_bytes(param.data_ptr(), loaded)

        def by_the_addresses_of_rows(param, loaded):
            for row, source in zip(param.data, loaded):
                copy_bytes(row.data_ptr(), source)

        def by_dlpack(param, loaded):
            torch.from_dlpack(param.data).copy_(loaded)

        def later(param, loaded):
            earlier, address = rows.setdefault(param, (loaded.clone(), param.data_ptr()))
            copy_bytes(address, loaded)
        rows = {}
        self.check_loaders(by_numpy, by_views, by_address, by_the_addresses_of_rows, by_dlpack)
        self.load_down_weights_by(later)
        self.check_reload(1, self.generator(1))

    def test_what_is_not_written_past_torch_is_missing(self):
        before = bits(self.model)
        self.load_down_weights_by(lambda param, loaded: copy_bytes(param.data_ptr(), loaded[:-1]))
        for weights in (self.generator(1), checkpoint(1, self.dtype).items()):
            with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got some"):
                reload_weights(Loader(self.model), weights)
            self.assertTrue(bits(self.model) == before)

    def test_what_came_before_is_read_past_torch(self):
        def reads(param, loaded):
            param.data.copy_(loaded)
            self.assertTrue((as_numpy(param.data) == as_numpy(loaded)).all())
        self.check_loaders(reads)

    def test_where_memory_is_cannot_be_asked_after_the_reload(self):
        kept = []

        def keeps(param, loaded):
            kept.append(param.data)
            param.data.copy_(loaded)
        self.check_loaders(keeps)
        with self.assertRaisesRegex(liveweight.Error, "down.weight: the reload that this stand-in was of has ended"):
            kept[0].data_ptr()
        kept[0].zero_()

    def test_numbers_are_written_by_index(self):
        def rows(param, loaded):
            param.data.copy_(loaded)
            param.data[3:5] = 7.0
            param.data[torch.tensor([0, 1])] = 7.0
            param.data[loaded > 100] = 7.0
            param.data[3:5], param.data[:2] = loaded[3:5], loaded[:2]

        def everything(param, loaded):
            param.data[...] = 0
            param.data[...] += loaded
        self.check_loaders(rows, everything)

    def test_lists_are_indices_as_of_real_parameters(self):
        rows, columns = [4, 0, 5], [1, 2, 0]
        some = [row % 3 == 0 for row in range(64)]
        indices = [rows, (rows,), (rows, columns), [rows, columns], [rows, [1]], (slice(None), columns), (..., columns),
                   (3, columns), (torch.tensor(rows), columns), [torch.tensor(rows), torch.tensor(columns)], range(3, 5),
                   (range(3), [1]), [[3]], some, (some, 0), [None, rows], (None, rows), [[0, 1], slice(2)], list(range(64)),
                   [list(range(33))], [], ([], 0), ((1, 2), (3, 4)), [True, False] * 32, 3, (3, 4), slice(1, 9, 2), ..., None]

        def by_lists(param, loaded):
            param.data.copy_(loaded)
            for index in indices:
                with self.subTest(index):
                    self.assertTrue(torch.equal(param.data[index], loaded[index]))
                    param.data[index] *= 2
                    param.data[index] = loaded[index]
                    param[index].data.copy_(loaded[index])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lists that stand for tuples
            self.check_loaders(by_lists)

    def test_tensors_made_of_python_numbers_have_values(self):
        def makes(param, loaded):
            param.data.copy_(loaded * 4)
            param.data.mul_(param.data.new_tensor(0.5))
            param.data[:2].copy_(param.new_tensor([[2.0], [2.0]]) * loaded[:2])
            param.data.mul_(param.data.new([1.0, 0.5])[1])
        self.check_loaders(makes)

    def test_functions_of_elements_are_applied(self):
        def applies(param, loaded):
            param.data.copy_(loaded)
            row = param.data[3]
            self.assertIs(row.apply_(lambda x: 2 * x), row)
            row.map_(loaded[3], lambda x, y: x - y)
        self.check_loaders(applies)

    def test_a_tensor_without_values_is_an_error_beside_a_parameter(self):
        lost = torch.ones((), device="meta")
        self.load_down_weights_by(lambda param, loaded: param.data.copy_(loaded).mul_(lost))
        with self.assertRaisesRegex(liveweight.Error, "down.weight: expected tensors with values in aten.mul_.Tensor, got one on the"):
            reload_weights(Loader(self.model), self.generator(1))

    def test_a_parameter_is_given_other_memory(self):
        def by_storage(param, loaded):
            param.set_(loaded.untyped_storage(), loaded.storage_offset(), loaded.shape, loaded.stride())
        self.check_loaders(lambda param, loaded: param.set_(loaded.clone()), by_storage)

    def test_copies_are_real_parameters_and_tensors(self):
        def copies(param, loaded):
            param.data.copy_(loaded)
            for made in (copy.deepcopy(param), type(param)(loaded, requires_grad=False)):
                self.assertIs(type(made), nn.Parameter)
                self.assertTrue(torch.equal(made, loaded))
            for made in (copy.deepcopy(param.data), pickle.loads(pickle.dumps(param.data)), type(param.data)(loaded)):
                self.assertIs(type(made), torch.Tensor)
                self.assertTrue(torch.equal(made, loaded))
        self.check_loaders(copies)

    def test_copying_needs_no_temporary(self):
        def plainly(param, loaded):
            self.assertEqual(param.data.device, loaded.device)
            param.data[:9].to(loaded.device).copy_(loaded[:9])
            param.data.narrow(0, 9, len(loaded) - 9).copy_(loaded[9:])
        self.load_down_weights_by(plainly)
        with unittest.mock.patch("liveweight.torch._session.Session.materialize") as materialize:
            reload_weights(Loader(self.model), self.generator(1))
        materialize.assert_not_called()
