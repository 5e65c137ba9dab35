"""Rows in a native update until its commit: what it holds of those that do not stay where they are, what it proves."""
import array
import functools
import os
import random
import subprocess
import sys
import unittest
from unittest import mock

import liveweight
from liveweight import _core

SCHEMES = ["none", "int8_per_channel", "fp8_per_channel", "fp8_per_tensor", "fp8_per_block", "int8_per_group:32@torchao-intx",
           "int4_per_group:32@torchao-intx", "int4_per_group:32@torchao-tinygemm"]
BLOCK = 128  # rows that every scheme can quantize alone


@functools.cache
def random_floats(count, seed):
    generator = random.Random(seed)
    return array.array("f", [generator.uniform(-1, 1) for _ in range(count)]).tobytes()


class Weights:
    """Of fp32, [rows, cols]."""

    def __init__(self, rows, cols, seed):
        self.rows, self.cols = rows, cols
        self.data = memoryview(bytearray(random_floats(rows * cols, seed))).cast("f")

    def copy(self):
        other = Weights(0, 0, 0)
        other.rows, other.cols, other.data = self.rows, self.cols, memoryview(bytearray(self.data)).cast("f")
        return other

    def part(self, begin, end):
        return self.data[begin * self.cols:end * self.cols].cast("B").cast("f", [end - begin, self.cols])

    def quantized(self, scheme):
        if scheme == "none":
            return [self.copy().part(0, self.rows)]
        return list(liveweight.quantize(self.part(0, self.rows), scheme))


def bits(parts):
    return [bytes(part) if isinstance(part, memoryview) else bytes(part.bytes) for part in parts]


def begin(scheme, weights):
    """An update of buffers that hold `weights`, and these buffers."""
    parts = weights.quantized(scheme)
    return update_of(scheme, weights, parts), parts


def update_of(scheme, weights, parts):
    update = _core.BuffersUpdate()
    update.add_target("w", scheme, "F32", weights.rows, weights.cols, *parts, *[None] * (3 - len(parts)))
    return update


class Staging(unittest.TestCase):
    def put_all(self, update, weights, step=BLOCK):
        for row in range(0, weights.rows, step):
            buffer = bytearray(weights.part(row, min(row + step, weights.rows)))
            piece = memoryview(buffer).cast("f", [len(buffer) // 4 // weights.cols, weights.cols])
            self.assertTrue(update.put(0, row, piece, False))
            piece.release()
            buffer[:] = bytes(len(buffer))  # it does not stay

    def expect_committed(self, update, live, weights, scheme):
        update.prepare(False)
        update.commit()
        self.assertEqual(bits(live), bits(weights.quantized(scheme)))

    def after_a_step(self, old):
        new = old.copy()
        for i in random.Random(2).sample(range(len(new.data)), len(new.data) // 500):
            new.data[i] *= 0.9
        return new

    def begin_a_step(self, scheme):
        old = Weights(5 * BLOCK, 330, 1)
        return old, self.after_a_step(old), *begin(scheme, old)

    def overwrite(self, live, weights, scheme):
        """By an update of somebody else's."""
        update = update_of(scheme, weights, live)
        self.put_all(update, weights, weights.rows)
        self.expect_committed(update, live, weights, scheme)

    def test_a_step_of_training_takes_a_small_part_of_the_memory_of_its_codes(self):
        for scheme in SCHEMES:
            with self.subTest(scheme):
                old, new, update, live = self.begin_a_step(scheme)
                self.put_all(update, new)
                self.assertEqual(bits(live), bits(old.quantized(scheme)))
                self.assertLess(update.staged_bytes, sum(map(len, bits(live))) / 8)
                self.expect_committed(update, live, new, scheme)

    def test_other_weights_take_no_more_memory_than_they_are_in(self):
        for scheme in SCHEMES:
            with self.subTest(scheme):
                new = Weights(3 * BLOCK + 5, 331, 4)
                update, live = begin(scheme, Weights(3 * BLOCK + 5, 331, 3))
                self.put_all(update, new)
                codes, *scales = map(len, bits(live))
                packed = codes / 2 if scheme.startswith("int4") else codes
                self.assertLess(update.staged_bytes, packed + sum(scales) + 1024)
                self.expect_committed(update, live, new, scheme)

    def test_rows_that_come_again_take_the_place_and_memory_of_those_before(self):
        for scheme in SCHEMES:
            with self.subTest(scheme):
                first, second, third = (Weights(2 * BLOCK, 320, seed) for seed in (5, 6, 7))
                step = 2 * BLOCK if scheme == "fp8_per_tensor" else BLOCK
                update, live = begin(scheme, first)
                self.put_all(update, second, step)
                once = update.staged_bytes
                self.put_all(update, third, step)
                self.assertEqual(update.staged_bytes, once)
                self.put_all(update, first, step)
                update.clear(0)
                self.assertEqual(update.staged_bytes, 0)
                self.put_all(update, second, step)
                self.put_all(update, first, step)
                self.expect_committed(update, live, first, scheme)

    def test_a_piece_is_not_taken_where_all_has_one_scale_and_was_quantized(self):
        first, second = (Weights(2 * BLOCK, 320, seed) for seed in (5, 6))
        update, live = begin("fp8_per_tensor", first)
        self.put_all(update, second)
        for borrowed in (False, True):
            self.assertFalse(update.put(0, 0, first.part(0, BLOCK), borrowed))
        self.expect_committed(update, live, second, "fp8_per_tensor")

    def test_one_row_that_becomes_another_is_not_held_with_its_neighbours(self):
        old = Weights(2 * BLOCK, 320, 8)
        new = old.copy()
        new.part(7, 8)[0, 0] = 3.0  # every code of that row
        update, live = begin("int8_per_channel", old)
        self.put_all(update, new)
        self.assertLess(update.staged_bytes, 10 * 320)
        self.expect_committed(update, live, new, "int8_per_channel")

    def test_rows_that_stay_and_change_little_are_read_once(self):
        for scheme in set(SCHEMES) - {"fp8_per_tensor"}:
            with self.subTest(scheme):
                old, new, update, live = self.begin_a_step(scheme)
                source = new.copy()
                self.assertTrue(update.put(0, 0, source.part(0, source.rows), True))
                update.prepare(False)
                self.assertEqual(bits(live), bits(old.quantized(scheme)))
                self.assertLess(update.staged_bytes, sum(map(len, bits(live))) / 8)
                source.data.cast("B")[:] = bytes(source.data.nbytes)
                self.expect_committed(update, live, new, scheme)

    def test_rows_that_stay_and_change_much_take_no_memory(self):
        for scheme in SCHEMES:
            with self.subTest(scheme):
                old, new = Weights(3 * BLOCK + 5, 331, 3), Weights(3 * BLOCK + 5, 331, 4)
                update, live = begin(scheme, old)
                self.assertTrue(update.put(0, 0, new.part(0, new.rows), True))
                update.prepare(False)
                self.assertEqual(update.staged_bytes, 0)
                self.expect_committed(update, live, new, scheme)

    def test_rows_of_which_some_bands_change_much_and_others_little_become_what_all_are(self):
        old = Weights(16 * BLOCK, 330, 1)
        new = self.after_a_step(old)
        for row in (300, 1500):
            new.part(row, row + 200).cast("B")[:] = random_floats(200 * 330, row)
        for scheme in SCHEMES:
            with self.subTest(scheme):
                update, live = begin(scheme, old)
                for row in range(0, new.rows, 4 * BLOCK):
                    self.assertTrue(update.put(0, row, new.part(row, row + 4 * BLOCK), True))
                self.expect_committed(update, live, new, scheme)

    def test_rows_that_come_again_or_are_cleared_leave_nothing_behind(self):
        old, new, update, live = self.begin_a_step("int8_per_channel")
        for weights in (new, old, new):
            self.assertTrue(update.put(0, 0, weights.part(0, old.rows), True))
        update.prepare(False)
        once = update.staged_bytes
        self.assertGreater(once, 0)
        self.assertLess(once, old.rows * old.cols / 8)
        update.clear(0)
        self.assertEqual(update.staged_bytes, 0)
        self.put_all(update, new)
        self.expect_committed(update, live, new, "int8_per_channel")

    def test_rows_compared_while_somebody_wrote_into_the_buffers_are_read_again(self):
        for scheme in SCHEMES:
            with self.subTest(scheme):
                old, new, update, live = self.begin_a_step(scheme)
                with mock.patch.dict(os.environ, LIVEWEIGHT_THREADS="1"):  # nothing is looked at before `prepare`
                    self.assertTrue(update.put(0, 0, new.part(0, new.rows), True))
                self.overwrite(live, new, scheme)
                update.prepare(False)
                self.overwrite(live, old, scheme)
                update.distrust(0)
                self.expect_committed(update, live, new, scheme)

    def test_rows_that_stay_but_have_no_finite_scale_are_refused_before_anything_is_written(self):
        scheme = "int4_per_group:33@compressed-tensors-asymmetric"
        old, new = Weights(8 * BLOCK, 330, 13), Weights(8 * BLOCK, 330, 14)
        new.part(8 * BLOCK - 2, 8 * BLOCK - 1)[0, 0] = 3e38
        new.part(8 * BLOCK - 2, 8 * BLOCK - 1)[0, 1] = -3e38
        update, live = begin(scheme, old)
        with self.assertRaises(liveweight.Error) as caught:
            self.assertTrue(update.put(0, 0, new.part(0, new.rows), True))
            update.prepare(False)
        self.assertEqual(caught.exception.code, "non_finite")
        self.assertEqual(bits(live), bits(old.quantized(scheme)))

    def test_rows_that_stay_need_no_thread_to_be_made(self):
        program = """
import resource, test_staging
old, new = (test_staging.Weights(512, 64, seed) for seed in (1, 2))
update, live = test_staging.begin("int8_per_channel", old)
expected = test_staging.bits(new.quantized("int8_per_channel"))
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))  # less than a thread's stack
assert update.put(0, 0, new.part(0, 512), True)
update.prepare(False)
update.commit()
assert test_staging.bits(live) == expected
"""
        subprocess.run([sys.executable, "-c", program], check=True, cwd=os.path.dirname(os.path.abspath(__file__)))


if __name__ == "__main__":
    unittest.main()
