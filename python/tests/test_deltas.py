"""Deltas: the model after any of them, mixed with updates of other kinds, is the one that a cold load gives."""
import array
import random
import struct
import tempfile
import threading
import unittest
from pathlib import Path

import liveweight
from sample import FIRST, SECOND, THIRD, has, put_all, read_safetensors, write_directory

UP = "model.layers.0.mlp.up_proj.weight"  # [320, 128]
NORM = "model.norm.weight"


def bf16(value):
    return struct.pack("<f", value)[2:]


class Weights:
    """What a model should hold: bf16 tensors, changed here as they are there."""

    def __init__(self, directory, seed=0):
        self.tensors = {name: (dtype, shape, bytearray(data)) for name, (dtype, shape, data) in read_safetensors(directory).items()}
        self.random = random.Random(seed)

    def change(self, name, share=0.02):
        """Changes some elements; their indices, in any order and integer type, flat or by row and column, and values."""
        dtype, shape, data = self.tensors[name]
        count = len(data) // 2
        where = self.random.sample(range(count), max(int(count * share), 1))
        values = bytearray()
        for at in where:
            data[2 * at:2 * at + 2] = bf16(self.random.choice([self.random.gauss(0, 0.05), self.random.gauss(0, 2), 0.0, -0.0]))
            values += data[2 * at:2 * at + 2]
        if len(shape) == 2 and self.random.random() < 0.5:
            pairs = array.array(self.random.choice("HiIqQ"), [part for at in where for part in divmod(at, shape[1])])
            return memoryview(pairs).cast("B").cast(pairs.typecode, [len(where), 2]), values
        return array.array(self.random.choice("iIqQ"), where), values

    def some(self, most=4):
        return self.random.sample(sorted(self.tensors), self.random.randint(1, most))

    def cold(self, quant):
        with tempfile.TemporaryDirectory() as directory:
            write_directory(directory, self.tensors)
            return liveweight.Model.load(directory, quant=quant).digest()


class Random(unittest.TestCase):
    def setUp(self):
        self.folder = new_folder(self)

    def delta(self):
        names = self.weights.some()
        with self.model.update(deltas=True) as update:
            for name in names:
                update.put_delta(name, *self.weights.change(name), dtype="BF16")
        self.assertEqual((update.report.tensors, update.report.in_mirror), (len(names), True))

    def delta_and_whole(self):
        whole = self.weights.random.choice(["down_proj", "o_proj"])  # not one of several that share a scale
        with self.model.update(deltas=True) as update:
            for name in self.weights.some():
                if whole not in name:
                    update.put_delta(name, *self.weights.change(name), dtype="BF16")
            for name in self.weights.tensors:
                if whole in name:
                    self.weights.change(name)
                    put_all(update, {name: self.weights.tensors[name]})

    def partial(self):
        module = self.weights.random.choice(["model.layers.0.self_attn", "model.layers.1.mlp", "model.layers.1", "model.norm"])
        names = [name for name in self.weights.tensors if name.startswith(f"{module}.")]
        for name in names:
            self.weights.change(name)
        with self.model.update(scope=[module]) as update:
            put_all(update, {name: self.weights.tensors[name] for name in names})

    def whole(self):
        """From a directory: the mirror is brought up before the next delta."""
        for name in self.weights.some():
            self.weights.change(name)
        write_directory(self.folder / "whole", self.weights.tensors)
        self.model.reload(self.folder / "whole")
        self.assertEqual(self.model.report()["tensors"][NORM]["largest"], 0)

    def taken_back(self):
        before = self.model.digest()
        data = {name: bytes(tensor[2]) for name, tensor in self.weights.tensors.items()}
        self.delta()
        self.model.rollback()
        self.assertEqual(self.model.digest(), before)
        for name, tensor in self.weights.tensors.items():
            tensor[2][:] = data[name]

    def catch_up(self):
        self.model.catch_up()

    def run_mixed(self, quant, **options):
        self.model = liveweight.Model.load(FIRST, quant=quant, **options)
        self.weights = Weights(FIRST)
        kinds = [self.delta, self.delta, self.delta_and_whole, self.partial, self.whole, self.taken_back, self.catch_up]
        for _ in range(24):
            self.weights.random.choice(kinds)()
            self.assertEqual(self.model.digest(), self.weights.cold(quant))

    def test_all_kinds_of_updates_with_a_mirror_in_memory(self):
        for quant in ("int8_per_channel", "fp8_per_tensor", "int4_per_group:64@torchao-tinygemm"):
            with self.subTest(quant):
                self.run_mixed(quant, mirror=True)

    def test_all_kinds_of_updates_with_a_mirror_on_disk(self):
        for quant in ("fp8_per_block", "fp8_per_channel"):
            with self.subTest(quant):
                self.run_mixed(quant, mirror=self.folder / quant, mode="copy")


class Calls(unittest.TestCase):
    def setUp(self):
        self.model = liveweight.Model.load(FIRST, quant="int8_per_channel", mirror=True, version="first")
        self.before = self.model.digest()

    def refused(self, code, indices, values, name=UP, **options):
        with self.subTest(code=code, indices=indices), self.assertRaises(liveweight.Error) as caught:
            with self.model.update(deltas=True) as update:
                update.put_delta(name, indices, values, **options)
        self.assertEqual(caught.exception.code, code)
        self.assertEqual(self.model.digest(), self.before)
        self.assertEqual(self.model.version, liveweight_version(1, "first"))
        return caught.exception

    def test_what_makes_no_sense_is_refused_and_changes_nothing(self):
        two = bf16(1) + bf16(2)
        error = self.refused("duplicate_tensor", array.array("I", [3, 3]), two, dtype="BF16")
        self.assertEqual((error.names, "position 3" in str(error)), ([UP], True))
        self.refused("invalid_argument", array.array("I", [3, 320 * 128]), two, dtype="BF16")
        self.refused("invalid_argument", array.array("q", [3, -1]), two, dtype="BF16")
        pair = memoryview(array.array("i", [0, 128])).cast("B").cast("i", [1, 2])
        self.refused("invalid_argument", pair, bf16(1), dtype="BF16")
        self.refused("wrong_shape", array.array("I", [1, 2, 3]), two, dtype="BF16")
        self.refused("wrong_dtype", array.array("f", [1, 2]), two, dtype="BF16")
        self.refused("wrong_dtype", array.array("I", [1, 2]), array.array("f", [1, 2]))
        self.refused("unknown_tensor", array.array("I", [1, 2]), two, name="model.nothing", dtype="BF16")
        self.refused("non_finite", array.array("I", [1, 2]), bf16(1) + bf16(float("nan")), dtype="BF16")
        self.refused("invalid_argument", [1, 2], two, dtype="BF16")

    def test_an_update_that_was_not_begun_for_deltas_takes_none(self):
        with self.assertRaises(liveweight.Error) as caught, self.model.update() as update:
            update.put_delta(UP, array.array("I", [1]), bf16(1), dtype="BF16")
        self.assertEqual(caught.exception.code, "failed_state")

    def test_a_swallowed_error_is_that_of_the_commit(self):
        with self.assertRaises(liveweight.Error) as caught, self.model.update(deltas=True) as update:
            try:
                update.put_delta(UP, object(), bf16(1))
            except liveweight.Error:
                pass
        self.assertIn(f"{UP}.indices", str(caught.exception))
        self.assertEqual(self.model.digest(), self.before)
        self.model.reload(SECOND)  # the update that failed is not in the way, although it is still held
        self.assertEqual(self.model.version.number, 2)

    def test_without_a_mirror_only_what_moves_no_scale_is_taken(self):
        model = liveweight.Model.load(FIRST, quant="int8_per_channel")
        with self.assertRaises(liveweight.Error) as caught, model.update(deltas=True) as update:
            update.put_delta(UP, array.array("I", [5]), bf16(100), dtype="BF16")
        self.assertEqual(caught.exception.code, "failed_state")
        self.assertIn("mirror", str(caught.exception))
        with model.update(deltas=True) as update:
            update.put_delta(NORM, array.array("I", [5]), bf16(100), dtype="BF16")
        self.assertEqual(update.report.changed_elements, 1)

    def test_a_mode_without_a_second_slot_refuses_deltas(self):
        model = liveweight.Model.load(FIRST, quant="int8_per_channel", mode="in_place")
        with self.assertRaises(liveweight.Error) as caught:
            model.update(deltas=True)
        self.assertEqual(caught.exception.code, "unsupported")

    def test_a_mirror_that_was_left_behind_says_so(self):
        with self.model.update() as update:
            put_all(update, read_safetensors(SECOND))
        self.assertFalse(update.report.in_mirror)
        with self.assertRaises(liveweight.Error) as caught, self.model.update(deltas=True) as update:
            update.put_delta(UP, array.array("I", [5]), bf16(100), dtype="BF16")
        self.assertIn("the mirror does not hold version 2", str(caught.exception))

    def test_a_rollback_returns_to_what_the_mirror_holds(self):
        with self.model.update() as update:
            put_all(update, read_safetensors(SECOND))
        self.model.rollback()
        with self.model.update(deltas=True) as update:
            update.put_delta(UP, array.array("I", [5]), bf16(100), dtype="BF16")

    def test_a_rollback_over_a_delta_is_possible_when_the_next_slot_has_caught_up(self):
        before = self.model.digest()
        self.assertFalse(self.model.can_roll_back)
        with self.model.update(deltas=True) as update:
            update.put_delta(UP, array.array("I", [5]), bf16(100), dtype="BF16")
            self.assertFalse(self.model.can_roll_back)
        self.model.catch_up()
        self.assertTrue(self.model.can_roll_back)
        self.model.rollback()
        self.assertEqual(self.model.digest(), before)

    def test_whole_tensors_in_a_scope_leave_the_mirror_current(self):
        with self.model.update(scope=["model", "lm_head"]) as update:
            put_all(update, read_safetensors(SECOND))
        self.assertTrue(update.report.in_mirror)

    def test_several_threads_may_put(self):
        weights = Weights(FIRST)
        changes = [(name, *weights.change(name)) for name in weights.tensors]

        def put(part):
            for name, indices, values in part:
                update.put_delta(name, indices, values, dtype="BF16")
        with self.model.update(deltas=True) as update:
            threads = [threading.Thread(target=put, args=(changes[i::4],)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(self.model.digest(), weights.cold("int8_per_channel"))


class Directories(unittest.TestCase):
    def setUp(self):
        self.folder = new_folder(self)
        self.old, self.new = read_safetensors(SECOND), read_safetensors(THIRD)
        self.cold = liveweight.Model.load(THIRD, quant="fp8_per_block").digest()

    def write(self, name, version="2", base="1", prefix="", **options):
        with liveweight.DeltaWriter(self.folder / name, version=version, base_version=base, **options) as writer:
            return sum(writer.add(prefix + tensor, old, self.new[tensor][2], dtype=dtype, shape=shape)
                       for tensor, (dtype, shape, old) in self.old.items())

    def test_a_delta_directory_reloads_to_what_the_new_checkpoint_gives(self):
        for encoding in ("indices", "xor", "overwrite"):
            with self.subTest(encoding):
                model = liveweight.Model.load(SECOND, quant="fp8_per_block", mirror=self.folder / f"mirror-{encoding}")
                changed = self.write(encoding, encoding=encoding)
                report = model.reload(self.folder / encoding)
                self.assertIsInstance(report, liveweight.DeltaReport)
                self.assertEqual((report.changed_elements, report.base_version, report.delta_version), (changed, "1", "2"))
                self.assertGreater(report.touched_units, report.whole_units)
                self.assertEqual(report.version, liveweight_version(2, "2"))
                self.assertEqual(model.digest(), self.cold)
                model.catch_up()

    def test_a_delta_on_other_weights_is_stale(self):
        self.write("first")
        self.write("other", version="4", base="3")
        model = liveweight.Model.load(SECOND, quant="fp8_per_block", mirror=True, version="1")
        before = model.digest()
        with self.assertRaises(liveweight.Error) as caught:
            model.reload(self.folder / "other")
        self.assertEqual((caught.exception.code, model.digest()), ("stale_version", before))
        model.reload(self.folder / "first")
        with self.assertRaises(liveweight.Error) as caught:
            model.reload(self.folder / "first")
        self.assertEqual((caught.exception.code, model.digest()), ("stale_version", self.cold))
        model.rollback()
        model.reload(self.folder / "first")
        self.assertEqual(model.digest(), self.cold)

    def test_a_model_goes_on_from_its_mirror(self):
        self.write("delta")
        with self.assertRaises(liveweight.Error):
            liveweight.Model.load(SECOND, quant="fp8_per_block", resume=True)
        model = liveweight.Model.load(SECOND, quant="fp8_per_block", mirror=self.folder / "mirror", resume=True, version="1")
        model.reload(self.folder / "delta")
        again = liveweight.Model.load(SECOND, quant="fp8_per_block", mirror=self.folder / "mirror", resume=True)
        self.assertEqual((again.digest(), again.version.label), (self.cold, "2"))
        with self.assertRaises(liveweight.Error):
            again.report()  # which directory holds these weights is not known
        with self.assertRaises(liveweight.Error) as caught:  # another run's version 1
            liveweight.Model.load(FIRST, quant="fp8_per_block", mirror=self.folder / "mirror", resume=True, version="1")
        self.assertEqual(caught.exception.code, "stale_version")
        fresh = liveweight.Model.load(SECOND, quant="fp8_per_block", mirror=self.folder / "mirror")
        self.assertNotEqual(fresh.digest(), self.cold)

    def test_deltas_apply_to_a_checkpoint(self):
        for prefix in ("", "module."):  # a trainer's wrapper
            with self.subTest(prefix):
                delta, applied = self.folder / f"{prefix}delta", self.folder / f"{prefix}applied"
                self.write(delta.name, prefix=prefix)
                said = liveweight.apply_deltas(SECOND, [delta], applied)
                self.assertEqual((said["version"], said["deltas"]), ("2", 1))
                self.assertEqual(liveweight.Model.load(applied, quant="fp8_per_block").digest(), self.cold)

    def test_a_writer_leaves_nothing_where_something_fails(self):
        with self.assertRaises(ZeroDivisionError), liveweight.DeltaWriter(self.folder / "a", version="2", base_version="1"):
            1 / 0
        for old, new, code in [(b"1234", b"123", "wrong_shape"), (b"1234", array.array("f", [1]), "wrong_dtype"), ("text", b"1", "invalid_argument")]:
            with self.subTest(code), self.assertRaises(liveweight.Error) as caught:
                with liveweight.DeltaWriter(self.folder / "b", version="2", base_version="1") as writer:
                    try:
                        writer.add("w", old, new)
                    except liveweight.Error:
                        pass  # swallowed, it still ends the delta
            self.assertEqual(caught.exception.code, code)
        writer = liveweight.DeltaWriter(self.folder / "c", version="2", base_version="1")
        writer.abort()
        with self.assertRaises(liveweight.Error):
            writer.finish()
        self.assertEqual(list(self.folder.iterdir()), [])
        for options in (dict(encoding="zip"), dict(checksum="crc"), dict(base_version="")):
            with self.subTest(options), self.assertRaises(liveweight.Error):
                liveweight.DeltaWriter(self.folder / "d", **{"version": "2", "base_version": "1", **options})


def new_folder(test):
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    return Path(folder.name)


def liveweight_version(number, label):
    """Equal to a Version of those."""
    class Same:
        def __eq__(self, other):
            return (other.number, other.label) == (number, label)
    return Same()


class Libraries(unittest.TestCase):
    def check(self, convert):
        model = liveweight.Model.load(SECOND, quant="int8_per_channel", mirror=True)
        new = read_safetensors(THIRD)
        with model.update(deltas=True) as update:
            for name, (_, shape, data) in read_safetensors(SECOND).items():
                old, updated = convert(data, shape), convert(new[name][2], shape)
                indices, values = liveweight.diff(old, updated)
                self.assertIs(type(values), type(old))
                self.assertEqual((values.dtype, len(indices)), (old.dtype, len(values)))
                update.put_delta(name, indices, values)
        self.assertGreater(update.report.changed_elements, 0)
        self.assertEqual(model.digest(), liveweight.Model.load(THIRD, quant="int8_per_channel").digest())
        return model

    @unittest.skipUnless(has("numpy", "ml_dtypes"), "numpy and ml_dtypes are not installed")
    def test_numpy(self):
        import ml_dtypes
        import numpy
        self.check(lambda data, shape: numpy.frombuffer(data, ml_dtypes.bfloat16).reshape(shape))

    @unittest.skipUnless(has("torch"), "torch is not installed")
    def test_torch(self):
        import torch
        model = self.check(lambda data, shape: torch.frombuffer(bytearray(data), dtype=torch.bfloat16).reshape(shape))
        weight = torch.frombuffer(bytearray(read_safetensors(THIRD)[UP][2]), dtype=torch.bfloat16).reshape(320, 128).clone()
        large = (weight.abs() > 0.1).nonzero()  # int64, [n, 2]
        weight[large[:, 0], large[:, 1]] *= 1.5
        with model.update(deltas=True) as update:
            update.put_delta(UP, large, weight[large[:, 0], large[:, 1]])
        with model.update(deltas=True) as whole:
            whole.put(UP, weight)
        self.assertEqual(update.report.changed_elements, len(large))
        digests = [model.digest()]
        model.rollback()
        self.assertEqual(digests, [model.digest()])

    def test_the_standard_library(self):
        indices, values = liveweight.diff(b"abcd", b"abxy")
        self.assertEqual((indices.dtype, values.dtype), ("U32", "U8"))
        self.assertEqual((list(indices.bytes.cast("I")), bytes(values.bytes)), ([2, 3], b"xy"))
        self.assertEqual(liveweight.diff(b"ab", b"ab")[0].shape, (0,))


if __name__ == "__main__":
    unittest.main()
