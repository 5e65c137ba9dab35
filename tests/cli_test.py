"""The command line as its users see it: fields, values, exit codes and the one line of an error.

Usage: cli_test.py BINARY SOURCE_DIR
"""

import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

BINARY, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
MODELS = SOURCE.parent / "shared" / "models"
STORIES = MODELS / "stories260k"
STORIES_BF16 = MODELS / "stories260k-bf16"
LLAMA = MODELS / "tiny" / "llama"
EIGHT_BIT = ("int8_per_channel", "fp8_per_tensor", "fp8_per_channel", "fp8_per_block")


def run(*arguments, stdin=b"", **environment):
    return subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True, timeout=600,
                          env={**os.environ, "LIVEWEIGHT_THREADS": "2", **environment})


def read_safetensors(path):
    """name -> flat list of numbers, of the F32 and I64 tensors that expectations are written in."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        code = {"F32": "f", "I64": "q", "I32": "i"}[entry["dtype"]]
        tensors[name] = struct.unpack(f"<{(end - begin) // struct.calcsize(code)}{code}", data[begin:end])
    return tensors


def comma(ids):
    return ",".join(map(str, ids))


class CommandTest(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.scratch)

    def json_of(self, *arguments, code=0, **options):
        done = run(*arguments, "--json", **options)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def refused(self, *arguments, names=(), code=2, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        self.assertEqual(done.stdout, b"", arguments)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("liveweight: error: "), lines)
        for name in names:
            self.assertIn(str(name), lines[0])


class SampleTest(CommandTest):
    def test_every_checkpoint_of_the_sample_gives_the_expected_greedy_tokens(self):
        sample = SOURCE / "samples" / "addition"
        expected = json.loads((sample / "expected.json").read_text())
        for checkpoint in expected["checkpoints"]:
            for prompt in checkpoint["prompts"][:2]:
                got = self.json_of("generate", sample / checkpoint["directory"], "--quant", "none", "--prompt",
                                   prompt["prompt"], "-n", expected["max_new_tokens"])
                self.assertEqual(got["prompt_tokens"], prompt["prompt_ids"])
                ids = [i for i in got["tokens"] if i != 2]
                self.assertEqual(ids, [i for i in prompt["greedy_ids"] if i != 2], checkpoint["directory"])


class UsageTest(CommandTest):
    def test_usage_errors_exit_with_64(self):
        for arguments in ((), ("nothing",), ("inspect",), ("inspect", "x", "--bad"), ("generate", "x", "-n", "0"),
                          ("generate", "x", "-n", "many"), ("digest", "x", "--tp-size", "0"),
                          ("reload", "x"), ("generate", "x", "--prompt", "a", "--tokens", "1"),
                          ("inspect", "x", "--threads", "0"), ("generate", "x"), ("eval", "x")):
            self.refused(*arguments, code=64)

    def test_an_empty_path_is_a_usage_error_and_not_a_default(self):
        for arguments, option in ((("apply", "x", "y", "--out", ""), "--out"), (("apply", "", "y"), "DIR"),
                                  (("reload", "x", "y", "--mirror", ""), "--mirror"), (("reload", "x", ""), "NEW_DIR"),
                                  (("follow", "x", "--mirror", ""), "--mirror"), (("plan", "x", "--name-map", ""), "--name-map"),
                                  (("plan", "x", "--quant-config", ""), "--quant-config"),
                                  (("bench", "limits", "--plot", ""), "--plot")):
            self.refused(*arguments, code=64, names=[option, "expected a path"])

    def test_values_of_flags_are_refused_with_those_that_there_are(self):
        for arguments, names in ((("diff", "x", "y", "z", "--encoding", "zip"), ["--encoding", "overwrite"]),
                                 (("diff", "x", "y", "z", "--checksum", "crc"), ["--checksum", "adler32"]),
                                 (("follow", "x", "--mode", "in_place"), ["--mode", "flip"]),
                                 (("follow", "x", "--until", "-1"), ["--until", "-1"]),
                                 (("follow", "x", "--until", "9" * 19), ["--until", "18 digits"])):
            self.refused(*arguments, code=64, names=names)

    def test_a_bad_number_of_threads_is_refused(self):
        for text in ("0", "-1", "two", "1.5", "99999999999999999999"):
            self.refused("inspect", "x", LIVEWEIGHT_THREADS=text, names=["LIVEWEIGHT_THREADS", text])

    def test_help_and_version_exit_with_0(self):
        for arguments in (("--help",), ("--version",), ("reload", "--help")):
            self.assertEqual(run(*arguments).returncode, 0)

    def test_garbage_in_the_place_of_a_checkpoint_is_refused_by_its_name(self):
        garbage = self.scratch / "garbage"
        garbage.mkdir()
        self.refused("inspect", self.scratch / "absent", names=["absent"])
        self.refused("inspect", garbage, names=["garbage"])
        (garbage / "config.json").write_bytes(b"\xff\x00{")
        self.refused("inspect", garbage, names=["config.json"])
        self.refused("inspect", garbage / "config.json", names=["config.json"])


@unittest.skipUnless(MODELS.exists(), f"{MODELS} is not there")
class BadInputTest(CommandTest):
    def copy_of(self, model):
        target = self.scratch / "model"
        shutil.copytree(model, target)
        for path in [target, *target.iterdir()]:
            path.chmod(0o755)
        return target

    def test_garbage_files_are_refused_by_name_by_every_command(self):
        for content in (b"", b"\x00" * 7, b"\xff" * 64, struct.pack("<Q", 2) + b"[]"):
            model = self.copy_of(LLAMA)
            (model / "model.safetensors").write_bytes(content)
            for command in (("inspect",), ("plan", "--quant", "none"), ("digest", "--quant", "none"),
                            ("generate", "--tokens", "1", "-n", "1")):
                self.refused(command[0], model, *command[1:], names=["model.safetensors"])
            shutil.rmtree(model)

    def test_a_directory_in_the_place_of_a_file_is_refused(self):
        model = self.copy_of(LLAMA)
        (model / "model.safetensors").unlink()
        (model / "model.safetensors").mkdir()
        self.refused("inspect", model, names=["model.safetensors"])

    def test_bad_values_are_refused_by_flag(self):
        for arguments, name in ((["--quant", "int3"], "int3"), (["--quant", "int4_per_group:0"], "int4_per_group:0"),
                                (["--quant", "fp8_per_block@nobody"], "nobody"), (["--quant", ""], "scheme"),
                                (["--quant-config", self.scratch / "absent"], "absent"),
                                (["--name-map", self.scratch / "absent"], "absent"),
                                (["--quant", "none", "--tp-size", "2", "--tp-rank", "2"], "rank")):
            self.refused("plan", LLAMA, *arguments, names=[name])
        self.refused("reload", LLAMA, LLAMA, "--mode", "sideways", names=["sideways"])
        for tokens in ("", "1,", "a", "1,,2", "-1", "320", "99999999999"):
            self.refused("generate", LLAMA, "--tokens", tokens, "-n", "1")
        for flag, value in (("--temperature", "-1"), ("--temperature", "nan"), ("--top-p", "2"), ("--top-k", "-1"),
                            ("--logprobs", "-1")):
            self.refused("generate", LLAMA, "--tokens", "1", "-n", "1", flag, value)
        self.refused("generate", LLAMA, "--tokens", "1", "-n", "1", "--activations", "int8", names=["int8", "int8_per_token"])
        self.refused("generate", LLAMA, "--quant", "none", "--tokens", "1", "-n", "1", "--activations", "int8_per_token",
                     names=["activations"])

    def test_a_diff_is_of_two_full_checkpoints_of_two_versions(self):
        old, new = (MODELS / "trajectory" / f"step_{i:03}" for i in range(2))
        delta = self.scratch / "delta"
        self.refused("diff", old, new, delta, "--base-version", "7", "--new-version", "007", names=["version", "007"])
        made = self.json_of("diff", old, new, delta, "--base-version", "7")
        self.assertEqual((made["base_version"], made["version"]), ("7", "8"))
        self.refused("diff", old, delta, self.scratch / "other", names=[str(delta), "expected a full checkpoint"])
        self.refused("diff", delta, new, self.scratch / "other", names=[str(delta), "expected a full checkpoint"])
        self.assertFalse((self.scratch / "other").exists())

    def test_int8_activations_move_the_samples_log_probabilities_by_little(self):
        directory = SOURCE / "samples/addition/checkpoints/step_02500"
        arguments = ("generate", directory, "--quant", "int8_per_channel", "--prompt", "947+396=", "-n", "5")
        exact, integer = self.json_of(*arguments), self.json_of(*arguments, "--activations", "int8_per_token")
        self.assertEqual(integer["text"], exact["text"])
        self.assertNotEqual(integer["logprobs"], exact["logprobs"])
        for a, b in zip(exact["logprobs"], integer["logprobs"]):
            self.assertLess(abs(a - b), 0.01)

    def test_bad_name_maps_are_refused_by_file(self):
        for content in ("", "{}", "[1]", '[["a"]]', '[["(", "b"]]', '[["a", 1]]', "[" * 100000):
            path = self.scratch / "names.json"
            path.write_text(content)
            self.refused("plan", LLAMA, "--quant", "none", "--name-map", path, names=["names.json"])

    def test_bad_lines_are_refused_by_their_number(self):
        for line in (b"x", b"1", b"[1]", b'"\xff"', b'"', b'"\\ud800"', b"[" * 100000, b"\x00"):
            self.refused("tokenize", STORIES, stdin=b'"a"\n' + line + b"\n", names=["line 2"])
        for line in (b"x", b'"a"', b"[-1]", b"[1.5]", b"[99999999999]", b'["a"]', b"{}"):
            self.refused("tokenize", STORIES, "--decode", stdin=b"[1]\n" + line, names=["line 2"])

    def test_each_bad_checkpoint_is_refused_and_the_model_stays(self):
        for bad in sorted((MODELS / "finetune").glob("bad-*")):
            got = self.json_of("reload", STORIES_BF16, MODELS / "finetune" / "good", bad, STORIES_BF16, "--quant",
                               "int8_per_channel", code=2)
            first, refused, last = got["reloads"]
            self.assertTrue(first["equal"] and last["equal"], bad)
            self.assertEqual(set(refused["error"]), {"code", "message"})
            self.assertEqual(refused["digest"], first["digest"])
            self.assertEqual(last["digest"], got["initial"]["digest"])
            self.assertFalse(got["ok"])


@unittest.skipUnless(MODELS.exists(), f"{MODELS} is not there")
class FieldsTest(CommandTest):
    def test_inspect(self):
        got = self.json_of("inspect", MODELS / "tiny" / "llama-tied")
        self.assertLessEqual({"architecture", "dtype", "parameters", "bytes", "tied", "quantization", "tensors"},
                             set(got))
        self.assertEqual(got["tied"], [["lm_head.weight", "model.embed_tokens.weight"]])
        self.assertEqual(got["quantization"]["case"], "none")
        self.assertEqual(set(got["tensors"][0]), {"name", "dtype", "shape", "bytes", "file"})
        self.assertEqual(got["parameters"], sum(math.prod(t["shape"]) for t in got["tensors"]))
        self.assertEqual(got["bytes"], sum(t["bytes"] for t in got["tensors"]))

    def test_plan(self):
        got = self.json_of("plan", LLAMA, "--quant", "int8_per_channel")
        self.assertLessEqual({"hash", "seconds", "parameters", "source_bytes", "live_bytes", "extra_peak_bytes"},
                             set(got))
        for parameter in got["parameters"]:
            self.assertLessEqual({"name", "shape", "scheme", "sources", "live_bytes", "units"}, set(parameter))

    def test_eval_and_tokenize(self):
        got = self.json_of("eval", STORIES, "--quant", "none", "--text", STORIES / "loss_text.txt", "--context", 512)
        self.assertLessEqual({"tokens", "bytes", "nats_per_token", "perplexity", "nats_per_byte"}, set(got))
        expected = json.loads((STORIES / "expected.json").read_text())["eval"]
        self.assertAlmostEqual(got["nats_per_token"], expected["fp32"], places=4)
        ids = self.json_of("tokenize", STORIES, stdin=b'"Once upon a time"\n')["ids"]
        self.assertEqual(ids, [[1, 403, 407, 261, 378]])
        decoded = self.json_of("tokenize", STORIES, "--decode", "--no-special", stdin=json.dumps(ids[0]).encode())
        self.assertEqual(decoded["texts"], ["Once upon a time"])

    def test_reload(self):
        for mode in ("flip", "copy", "in_place"):
            got = self.json_of("reload", STORIES_BF16, MODELS / "finetune" / "renamed", "--quant", "fp8_per_block", "--mode",
                               mode)
            entry = got["reloads"][0]
            self.assertLessEqual({"directory", "version", "tensors", "source_bytes", "seconds", "pause_us",
                                  "extra_peak_bytes", "predicted_extra_peak_bytes", "addresses_unchanged", "digest",
                                  "cold_digest", "equal"}, set(entry))
            self.assertEqual(set(entry["seconds"]), {"total", "stage", "prepare", "commit"})
            self.assertTrue(got["ok"] and entry["equal"] and entry["addresses_unchanged"])
        unverified = self.json_of("reload", STORIES, STORIES, "--quant", "none", "--no-verify")
        self.assertFalse({"equal", "cold_digest"} & set(unverified["reloads"][0]))


@unittest.skipUnless(MODELS.exists(), f"{MODELS} is not there")
class ValuesTest(CommandTest):
    def test_greedy_tokens_of_every_architecture_equal_those_expected(self):
        for path in sorted((MODELS / "tiny").glob("*.expected.safetensors")):
            expected = read_safetensors(path)
            got = self.json_of("generate", str(path).removesuffix(".expected.safetensors"), "--quant", "none",
                               "--tokens", comma(expected["input_ids"]), "-n", len(expected["greedy"]),
                               "--ignore-eos", "--logprobs", 2)
            self.assertEqual(tuple(got["tokens"]), expected["greedy"], path)
            self.assertEqual((got["text"], got["finish_reason"]), (None, "length"))
            self.assertEqual(len(got["top_logprobs"]), len(got["tokens"]))
            self.check_first_logprob(got, expected)

    def check_first_logprob(self, got, expected):
        vocabulary = len(expected["logits"]) // len(expected["input_ids"])
        last = expected["logits"][-vocabulary:]
        largest = max(last)
        total = largest + math.log(sum(math.exp(x - largest) for x in last))
        self.assertAlmostEqual(got["logprobs"][0], last[got["tokens"][0]] - total, delta=1e-3)

    def test_offline_quantized_checkpoints_give_the_expected_logits(self):
        for path in sorted((MODELS / "quantized").glob("*.expected.safetensors")):
            expected = read_safetensors(path)
            got = self.json_of("generate", str(path).removesuffix(".expected.safetensors"), "--quant", "none",
                               "--tokens", comma(expected["input_ids"]), "-n", 1, "--ignore-eos")
            self.check_first_logprob(got, expected)

    def test_stories_continue_as_published(self):
        expected = json.loads((STORIES / "expected.json").read_text())
        for prompt in expected["prompts"]:
            got = self.json_of("generate", STORIES, "--quant", "none", "--prompt", prompt["text"], "-n",
                               len(prompt["greedy"]))
            self.assertEqual(got["tokens"], prompt["greedy"])

    def test_eight_bits_move_the_loss_by_less_than_one_percent(self):
        expected = json.loads((STORIES / "expected.json").read_text())["eval"]
        for scheme in EIGHT_BIT:
            got = self.json_of("eval", STORIES, "--quant", scheme, "--text", STORIES / "loss_text.txt", "--context",
                               expected["context"])
            self.assertLess(abs(got["nats_per_token"] / expected["fp32"] - 1), 0.01, scheme)

    def test_digests_of_ranks_equal_the_unsharded_ones_wherever_no_unit_crosses_ranks(self):
        for scheme in ("none", *EIGHT_BIT):
            whole = self.json_of("digest", STORIES, "--quant", scheme)
            for ranks in (2, 4, 8):
                sharded = self.json_of("digest", STORIES, "--quant", scheme, "--tp-size", ranks)
                differ = {n for n in whole["tensors"] if whole["tensors"][n] != sharded["tensors"].get(n)}
                if scheme in ("none", "fp8_per_tensor"):
                    self.assertEqual(differ, set(), (scheme, ranks))
                for name in differ:
                    self.assertRegex(name, "qkv|o_proj|gate_up|down_proj")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
