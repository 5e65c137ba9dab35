"""Loaders whose threads copy, as SGLang's do."""
import concurrent.futures
import gc
import threading
import time
import unittest
import weakref

from online_model import HAS_TORCHAO, OnlineModelTest

if HAS_TORCHAO:
    import torch
    from online_model import Loader, bits, checkpoint, load_weights, loaded_model, reload_weights, snapshot

    import liveweight
    from liveweight.torch.online_quantization import support_quantized_model_reload_from_hp_weights

    @support_quantized_model_reload_from_hp_weights
    def reload_by_threads(loader, weights, *, mapper=None):
        """Each weight by another thread, while the next one is asked for."""
        with concurrent.futures.ThreadPoolExecutor(4) as executor:
            loads = [executor.submit(torch.no_grad()(load_weights), loader, [item]) for item in weights]
            return set().union(*(load.result() for load in loads))

    def in_a_thread(function):
        """The same, by a thread of the loader's, waited for."""
        def run(*arguments):
            with concurrent.futures.ThreadPoolExecutor(1) as executor:
                executor.submit(torch.no_grad()(function), *arguments).result()
        return run


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class LoaderThreads(OnlineModelTest):
    def setUp(self):
        super().setUp()
        self.before = snapshot(self.model)

    def check_by_threads(self, seed, weights):
        names = reload_by_threads(Loader(self.model), weights)
        self.assertEqual(names, {"embed.weight", *checkpoint(seed, self.dtype)} - {"embed"})
        self.assertEqual(bits(self.model), bits(loaded_model(self.configuration, self.dtype, seed=seed)))
        self.assertEqual(snapshot(self.model)[:3], self.before[:3])

    def test_what_they_copy_comes(self):
        for seed in (1, 2, 3):
            self.check_by_threads(seed, checkpoint(seed, self.dtype).items())
            self.check_by_threads(seed + 1, self.generator(seed + 1))

    def test_a_tensor_that_only_the_thread_still_has_is_read_before_it_goes(self):
        for seed in (1, 2):
            self.check_by_threads(seed, ((name, tensor.clone()) for name, tensor in checkpoint(seed, self.dtype).items()))

    def test_what_cannot_be_recorded_runs_on_a_temporary_until_the_end(self):
        def halves(param, loaded):
            param.data.zero_()
            time.sleep(0.01)  # the next weights are asked for meanwhile
            param.data.add_(loaded, alpha=2)
            time.sleep(0.01)
            param.data.mul_(0.5)
        self.load_down_weights_by(halves)
        for seed in (1, 2):
            self.check_by_threads(seed, self.generator(seed))

    def test_a_tensor_put_in_the_parameters_place_counts(self):
        self.load_down_weights_by(lambda param, loaded: setattr(param, "data", loaded * 1))
        self.check_by_threads(1, self.generator(1))

    def test_threads_of_threads_count(self):
        self.load_down_weights_by(in_a_thread(in_a_thread(lambda param, loaded: param.data.copy_(loaded))))
        self.check_by_threads(1, self.generator(1))

    def test_a_failure_in_a_thread_leaves_the_model_and_what_it_wrote_there(self):
        def breaks(param, loaded):
            self.model.layers[1].norm.calibration.fill_(7)
            raise KeyError("injected")
        self.model.layers[1].norm.register_buffer("calibration", torch.zeros(3))
        self.load_down_weights_by(breaks)
        before = snapshot(self.model)
        with self.assertRaisesRegex(KeyError, "injected"):
            reload_by_threads(Loader(self.model), self.generator(1))
        self.assertEqual(snapshot(self.model), before)
        self.assertEqual(self.model.layers[1].norm.calibration.tolist(), [0, 0, 0])

    def test_who_comes_after_the_end_changes_nothing(self):
        end, late = threading.Event(), []

        def comes_late(param, loaded):
            def copy():
                end.wait()
                param.data.copy_(loaded)
                param.data.mul_(2)
            late.append(threading.Thread(target=copy))
            late[-1].start()
        self.load_down_weights_by(comes_late)
        with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got none"):
            reload_weights(Loader(self.model), self.generator(1))
        end.set()
        for thread in late:
            thread.join()
        self.assertEqual(snapshot(self.model), self.before)

    def test_a_thread_that_stays_does_not_keep_the_model(self):
        end, stays = threading.Event(), []

        def starts_a_thread(param, loaded):
            param.data.copy_(loaded)
            stays.append(threading.Thread(target=end.wait))
            stays[-1].start()
        self.load_down_weights_by(starts_a_thread)
        reload_weights(Loader(self.model), self.generator(1))
        layer = weakref.ref(self.model.layers[0].down)
        del self.model
        gc.collect()
        self.assertIsNone(layer())
        end.set()
        for thread in stays:
            thread.join()

    def test_a_thread_from_before_is_not_recorded(self):
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            self.load_down_weights_by(lambda param, loaded: executor.submit(param.data.copy_, loaded).result())
            with self.assertRaisesRegex(liveweight.Error, "layers.0.down.weight: expected 6144 elements, got none"):
                reload_weights(Loader(self.model), self.generator(1))
        self.assertEqual(snapshot(self.model), self.before)

    def test_models_may_be_reloaded_side_by_side(self):
        original = threading.Thread.start
        models = [loaded_model(self.configuration, self.dtype) for _ in range(4)]
        with concurrent.futures.ThreadPoolExecutor(4) as executor:
            for seed in (1, 2, 3):
                list(executor.map(lambda model: reload_by_threads(Loader(model), self.generator(seed)), models))
                for model in models:
                    self.assertEqual(bits(model), bits(loaded_model(self.configuration, self.dtype, seed=seed)))
        self.assertIs(threading.Thread.start, original)


if __name__ == "__main__":
    unittest.main()
