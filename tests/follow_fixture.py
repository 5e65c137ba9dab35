"""Versions of the fine-tuning trajectory as `follow` finds them, for the tests of it:

    TEST LIVEWEIGHT MODELS_DIR

Exit code 77 where the models are missing."""
import json
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BINARY, MODELS = sys.argv[1], Path(sys.argv[2])
SCHEMES = ("none", "int8_per_channel", "int4_per_group", "fp8_per_tensor", "fp8_per_channel", "fp8_per_block")
STEPS = 8
INDEX = "model.safetensors.index.json"


def step(number):
    return MODELS / "trajectory" / f"step_{number:03}"


def run(*arguments):
    return subprocess.run([BINARY, *map(str, arguments), "--json"], capture_output=True, text=True)


class Versions(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.versions = self.root / "versions"
        shutil.copytree(step(0), self.versions / "weight_v000000")

    def json_of(self, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def add_delta(self, base, number, encoding="indices"):
        self.json_of("diff", step(base), step(number), self.versions / f"weight_v{number:06}", "--encoding", encoding,
                     "--base-version", base, "--new-version", number)

    def add_deltas(self, last):
        for number in range(1, last + 1):
            self.add_delta(number - 1, number, random.choice(("indices", "xor", "overwrite")))

    def follow(self, scheme="fp8_per_channel", **options):
        flags = [x for name, value in options.items() for x in ("--" + name, value)]
        return self.json_of("follow", self.versions, "--quant", scheme, "--once", *flags)

    def cold(self, number, scheme="fp8_per_channel"):
        return self.json_of("digest", step(number), "--quant", scheme)["model"]


def main():
    if not (MODELS / "trajectory").is_dir():
        print(f"skipped: {MODELS} is not there")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
