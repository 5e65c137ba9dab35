"""Exceptions from the handlers of signals, which Python runs between any two instructions: the module is the old one, or the
new one, and ready for the next reload."""
import ctypes
import signal
import sys
import unittest
import unittest.mock
from collections import deque
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

from online_model import HAS_TORCHAO, OnlineModelTest

if HAS_TORCHAO:
    import torch
    from online_model import Loader, bits, loaded_model, reload_weights, snapshot
    from torch import nn
    from torch.overrides import TorchFunctionMode
    from torchao.quantization import Int8WeightOnlyConfig, PerTensor, quantize_

    from liveweight import _core
    from liveweight.torch import reload

    class SendsASignal(_core.BuffersUpdate):
        """As soon as it has written, and with no Python between."""
        @property
        def commit(self):
            steps = [partial(super().commit), partial(getattr(ctypes.CDLL(None), "raise"), signal.SIGUSR1)]
            return partial(deque, map(partial.__call__, steps), 0)

    class LooksOn(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    def interrupt(*_):
        raise KeyboardInterrupt

    class Interruption:
        """Calls `before_line(number)` before every line of some of the package's functions."""

        def __init__(self, functions, before_line):
            self.functions, self.before_line, self.lines = functions, before_line, 0

        def __enter__(self):
            sys.settrace(self.on_call)

        def __exit__(self, *_):
            sys.settrace(None)

        def on_call(self, frame, event, argument):
            ours = "liveweight/torch/" in frame.f_code.co_filename and frame.f_code.co_name in self.functions
            return self.on_line if ours else None

        def on_line(self, frame, event, argument):
            if event == "line":
                self.lines += 1
                self.before_line(self.lines)
            return self.on_line


@unittest.skipUnless(HAS_TORCHAO, "torch and torchao are not installed")
class Interrupts(OnlineModelTest):
    def setUp(self):
        """Some parameters are native, others need torchao."""
        self.configuration, self.dtype = Int8WeightOnlyConfig(version=2, granularity=PerTensor()), torch.bfloat16
        self.model = self.loaded(0)
        self.before = snapshot(self.model)
        self.new = bits(self.loaded(1))

    def loaded(self, seed):
        model = loaded_model(self.configuration, self.dtype, seed=seed)
        model._model_config = SimpleNamespace(quantization="torchao", torchao_config=self.configuration)
        return model

    def check_is_new_and_ready(self):
        self.assertTrue(snapshot(self.model) == (*self.before[:3], self.new))
        reload_weights(Loader(self.model), self.generator(0))
        self.assertTrue(snapshot(self.model) == self.before)

    def test_a_signal_while_new_bytes_are_written_is_handled_after_the_last(self):
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, interrupt))
        for looks_on in (nullcontext(), LooksOn()):
            with unittest.mock.patch.object(_core, "BuffersUpdate", SendsASignal), looks_on:
                with self.assertRaises(KeyboardInterrupt):
                    reload_weights(Loader(self.model), self.generator(1))
            self.check_is_new_and_ready()

    def test_so_it_is_where_a_module_is_reloaded_by_its_own_names(self):
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, interrupt))
        module = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64, bias=False))
        quantize_(module, self.configuration)
        new = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64, bias=False))
        with unittest.mock.patch.object(_core, "BuffersUpdate", SendsASignal), self.assertRaises(KeyboardInterrupt):
            reload(module, new.state_dict(), config=self.configuration)
        quantize_(new, self.configuration)
        self.assertTrue(bits(module) == bits(new))

    def test_an_exception_at_any_line_of_the_end_leaves_the_old_module_or_the_new_one(self):
        functions = {"_reload", "prepare", "commit", "_copies", "settle", "close", "_roll_back", "undo", "restore"}
        counting = Interruption(functions, lambda _: None)
        with counting:
            reload_weights(Loader(self.model), self.generator(0))
        outcomes = set()
        for at in range(1, counting.lines + 1):
            with self.assertRaises(KeyboardInterrupt), Interruption(functions, lambda line: line == at and interrupt()):
                reload_weights(Loader(self.model), self.generator(1))
            # A line that ends a `with` is injected into, too, where no handler of a signal runs.
            torch._C._set_torch_function_state(torch._C._TorchFunctionState.ENABLED)
            is_new = bits(self.model) == self.new
            outcomes.add(is_new)
            self.assertTrue(snapshot(self.model) == (*self.before[:3], self.new if is_new else self.before[3]))
            reload_weights(Loader(self.model), self.generator(0))
            self.assertTrue(snapshot(self.model) == self.before)
        self.assertEqual(outcomes, {False, True})

    def test_an_exception_at_any_line_of_putting_back_the_old_module_does_not_keep_that_from_happening(self):
        self.model.register_buffer("steps", torch.zeros(2))
        functions = {"_roll_back", "undo", "restore", "_close_to_loaders"}

        def fail(before_line):
            def touch(layer):
                self.model.steps.fill_(7)
                layer.surprise = 1
                raise RuntimeError("injected")
            loader, interruption = Loader(self.model), Interruption(functions, before_line)
            loader.touch = touch
            with self.assertRaises((RuntimeError, KeyboardInterrupt)) as caught, interruption:
                reload_weights(loader, self.generator(1))
            return interruption.lines, type(caught.exception)

        lines, _ = fail(lambda _: None)
        for at in range(1, lines + 1):
            self.assertIs(fail(lambda line: line == at and interrupt())[1], KeyboardInterrupt)
            self.assertTrue(snapshot(self.model) == self.before)
            self.assertEqual(self.model.steps.tolist(), [0, 0])
            self.assertFalse(any(hasattr(layer, "surprise") for layer in self.model.layers))


if __name__ == "__main__":
    unittest.main()
