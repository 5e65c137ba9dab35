"""The package without any other: a model from end to end."""
import gc
import threading
import unittest

import liveweight
from sample import FIRST, SECOND, THIRD, put_all, read_safetensors

QUANT = "fp8_per_block"


def load(directory=FIRST, **options):
    return liveweight.Model.load(directory, quant=QUANT, **options)


class Updates(unittest.TestCase):
    def setUp(self):
        self.model = load(version="first")
        self.before = self.model.digest()
        self.cold = load(SECOND).digest()

    def assert_unchanged(self):
        self.assertEqual(self.model.digest(), self.before)
        self.assertEqual(self.model.version.label, "first")

    def test_a_warm_update_equals_a_cold_load(self):
        with self.model.update(version="second") as update:
            put_all(update, read_safetensors(SECOND))
        self.assertEqual(self.model.digest(), self.cold)
        self.assertEqual(self.model.version, update.report.version)
        self.assertEqual(self.model.version.label, "second")
        self.assertEqual(update.report.tensors, len(read_safetensors(SECOND)))

    def test_rollback_brings_the_version_before_back(self):
        self.model.reload(SECOND)
        self.assertEqual(self.model.digest(), self.cold)
        version = self.model.rollback()
        self.assertEqual((version.number, version.label), (3, "first"))
        self.assert_unchanged()

    def test_leaving_by_an_exception_aborts(self):
        with self.assertRaises(ZeroDivisionError):
            with self.model.update() as update:
                put_all(update, read_safetensors(SECOND))
                1 / 0
        self.assert_unchanged()
        self.model.reload(SECOND)  # the next may begin
        self.assertEqual(self.model.digest(), self.cold)

    def test_a_missing_tensor_is_named_and_changes_nothing(self):
        name = "model.layers.0.self_attn.q_proj.weight"
        with self.assertRaises(liveweight.Error) as caught:
            with self.model.update() as update:
                put_all(update, read_safetensors(SECOND), skip={name})
        self.assertEqual(caught.exception.code, "missing_tensor")
        self.assertIn(name, caught.exception.names)
        self.assertIn(name, str(caught.exception))
        self.assert_unchanged()

    def test_errors_have_a_code_and_names(self):
        tensors = read_safetensors(SECOND)
        dtype, shape, data = tensors["model.norm.weight"]
        for code, name, arguments in [
                ("unknown_tensor", "model.nothing", dict(dtype=dtype, shape=shape)),
                ("wrong_shape", "model.norm.weight", dict(dtype=dtype, shape=[2, shape[0] // 2])),
                ("wrong_dtype", "model.norm.weight", dict(dtype="I16", shape=shape)),
                ("wrong_shape", "model.norm.weight", dict(dtype="F32", shape=shape))]:
            with self.subTest(code=code), self.assertRaises(liveweight.Error) as caught:
                with self.model.update() as update:
                    update.put(name, data, **arguments)
            self.assertEqual(caught.exception.code, code)
            self.assertEqual(caught.exception.names, [name])
        self.assert_unchanged()

    def test_one_update_is_open_at_a_time(self):
        with self.assertRaises(liveweight.Error) as caught:
            with self.model.update():
                self.model.update()
        self.assertEqual(caught.exception.code, "busy")

    def test_an_update_that_is_dropped_aborts(self):
        update = self.model.update()
        del update
        gc.collect()
        self.model.reload(SECOND)

    def test_pieces_come_by_offset_and_by_region(self):
        with self.model.update() as update:
            for name, (dtype, shape, data) in read_safetensors(SECOND).items():
                if len(shape) == 1:
                    update.put(name, data[:16], offset=0, dtype=dtype)
                    update.put(name, data[16:], offset=8, dtype=dtype)
                    continue
                half, row_bytes = shape[0] // 2, len(data) // shape[0]
                update.put(name, data[half * row_bytes:], region=([half, 0], [shape[0] - half, shape[1]]), dtype=dtype,
                           shape=[shape[0] - half, shape[1]])
                update.put(name, data[:half * row_bytes], region=([0, 0], [half, shape[1]]), dtype=dtype, shape=[half, shape[1]])
        self.assertEqual(self.model.digest(), self.cold)

    def test_several_threads_may_put(self):
        tensors = list(read_safetensors(SECOND).items())
        with self.model.update() as update:
            threads = [threading.Thread(target=put_all, args=(update, dict(tensors[i::4]))) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(self.model.digest(), self.cold)

    def test_a_scope_leaves_the_rest(self):
        name = "model.layers.0.mlp.down_proj.weight"
        with self.model.update(scope=[name]) as update:
            put_all(update, {name: read_safetensors(SECOND)[name]})
        changed = [key for key, value in self.model.digests().items() if value != load().digests()[key]]
        self.assertEqual(changed, [name])

    def test_a_stale_base_or_another_digest_is_refused(self):
        with self.assertRaises(liveweight.Error) as caught:
            self.model.update(base_version=7)
        self.assertEqual(caught.exception.code, "stale_version")
        with self.assertRaises(liveweight.Error) as caught:
            with self.model.update(expected_digest=self.before) as update:
                put_all(update, read_safetensors(SECOND))
        self.assertEqual(caught.exception.code, "digest_mismatch")
        with self.assertRaises(liveweight.Error) as caught:
            self.model.update(expected_digest="nonsense")
        self.assertEqual(caught.exception.code, "invalid_argument")
        self.assert_unchanged()


class Views(unittest.TestCase):
    def test_views_are_read_only_and_keep_their_version(self):
        model = load()
        tensor = model.tensor("model.layers.0.self_attn.qkv_proj.weight")
        before = bytes(tensor.data.bytes)
        self.assertTrue(tensor.data.bytes.readonly)
        self.assertEqual((tensor.data.dtype, tensor.data.shape, tensor.scale.dtype), ("F8_E4M3", (192, 128), "F32"))
        model.reload(SECOND)
        self.assertEqual(bytes(tensor.data.bytes), before)
        with self.assertRaises(liveweight.Error) as caught:  # the next one would write over it
            model.update(reader_timeout=0.01)
        self.assertEqual(caught.exception.code, "busy")
        self.assertNotEqual(bytes(model.tensor(tensor.name).data.bytes), before)
        view = tensor.data.bytes
        del tensor
        gc.collect()
        self.assertEqual(bytes(view), before)  # a view of the view is enough
        del view
        gc.collect()
        model.reload(THIRD)

    def test_views_outlive_the_model(self):
        tensors = load().tensors()
        gc.collect()
        self.assertEqual(sum(len(bytes(t.data.bytes)) > 0 for t in tensors), len(tensors))

    def test_an_unknown_parameter_is_named(self):
        with self.assertRaises(liveweight.Error) as caught:
            load().tensor("nothing")
        self.assertEqual((caught.exception.code, caught.exception.names), ("unknown_tensor", ["nothing"]))


class Whole(unittest.TestCase):
    def test_generate_completes_a_batch_and_names_versions(self):
        model = load()
        texts = model.generate(["947+396=", "1+1="], max_new_tokens=8, logprobs=2)
        self.assertEqual(texts[0].text, "1343")
        completion = texts[0]
        self.assertEqual(len(completion.logprobs), len(completion.tokens))
        self.assertEqual([len(top) for top in completion.top_logprobs], [2] * len(completion.tokens))
        self.assertEqual(completion.top_logprobs[0][0], (completion.tokens[0], completion.logprobs[0]))
        self.assertEqual(completion.versions, [(0, len(completion.tokens), model.version)])
        self.assertIn(completion.finish_reason, ("stop", "length"))
        self.assertEqual(model.generate([completion.tokens], max_new_tokens=1)[0].prompt_tokens, len(completion.tokens))

    def test_int8_activations_are_asked_for_and_need_int8_weights(self):
        model = liveweight.Model.load(FIRST, quant="int8_per_channel", activations="int8_per_token")
        exact = liveweight.Model.load(FIRST, quant="int8_per_channel").generate(["947+396="], max_new_tokens=8)[0]
        completion = model.generate(["947+396="], max_new_tokens=8)[0]
        self.assertEqual(completion.text, exact.text)
        self.assertNotEqual(completion.logprobs, exact.logprobs)
        with self.assertRaises(liveweight.Error) as caught:
            load(activations="int8_per_token").generate(["1+1="])
        self.assertEqual((caught.exception.code, caught.exception.names), ("invalid_argument", ["activations"]))

    def test_generation_goes_on_beside_updates(self):
        model = load()
        results = []
        thread = threading.Thread(target=lambda: results.extend(
            model.generate(["947+396="] * 8, max_new_tokens=48, ignore_eos=True)))
        thread.start()
        while thread.is_alive():
            model.reload(SECOND)
        self.assertEqual(len(results), 8)
        for completion in results:
            self.assertEqual(completion.versions[-1][1], len(completion.tokens))

    def test_report_compares_with_the_high_precision_weights(self):
        model = load()
        report = model.report()
        self.assertLess(report["quantized"]["relative_rms"], 0.05)
        self.assertEqual(report["tensors"]["model.norm.weight"]["largest"], 0)
        with model.update() as update:
            put_all(update, read_safetensors(SECOND))
        with self.assertRaises(liveweight.Error) as caught:
            model.report()
        self.assertEqual(caught.exception.code, "failed_state")
        self.assertAlmostEqual(model.report(SECOND)["quantized"]["relative_rms"], report["quantized"]["relative_rms"], 3)

    def test_plan_says_where_everything_goes(self):
        plan = load().plan()
        self.assertEqual(plan["parameters"][3]["scheme"], QUANT)
        self.assertEqual(len(plan["parameters"][3]["sources"]), 3)
        self.assertGreater(plan["source_bytes"], plan["live_bytes"])

    def test_ranks_load_their_shards(self):
        whole, part = load().plan(), load(tp=(2, 1)).plan()
        self.assertEqual(part["parameters"][3]["shape"][0] * 2, whole["parameters"][3]["shape"][0])

    def test_bad_arguments_are_errors(self):
        for arguments in [dict(quant="int3"), dict(quant=QUANT, mode="sideways"), dict(quant=QUANT, quant_config="{}"),
                          dict(quant_config="{"), dict(name_map="7"), dict(max_sequences=0), dict(activations="int8")]:
            with self.subTest(arguments), self.assertRaises(liveweight.Error):
                liveweight.Model.load(FIRST, **arguments)
        with self.assertRaises(liveweight.Error) as caught:
            liveweight.Model.load("no/such/directory")
        self.assertEqual(caught.exception.code, "io")


class Matrices(unittest.TestCase):
    def test_quantize_needs_no_other_package(self):
        import array
        values = array.array("f", [1.0, -2.0, 0.5, 4.0])
        codes, scales = liveweight.quantize(memoryview(values).cast("B").cast("f", [2, 2]), "int8_per_channel")
        self.assertEqual((codes.dtype, codes.shape, scales.shape), ("I8", (2, 2), (2, 1)))
        back = memoryview(liveweight.dequantize(codes, scales, scheme="int8_per_channel").bytes).cast("f")
        for value, quantized in zip(values, back):
            self.assertAlmostEqual(value, quantized, delta=0.04)

    def test_what_is_wrong_is_said(self):
        import array
        flat = array.array("f", [1.0, 2.0])
        for tensor, scheme, code in [(flat, "int8_per_channel", "wrong_shape"), (flat, "int3", "invalid_argument"),
                                     ("text", "int8_per_channel", "invalid_argument")]:
            with self.subTest(code), self.assertRaises(liveweight.Error) as caught:
                liveweight.quantize(tensor, scheme)
            self.assertEqual(caught.exception.code, code)


if __name__ == "__main__":
    unittest.main()
