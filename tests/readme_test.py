#!/usr/bin/env python3
"""The README's marked commands run in the sample's directory and print what the README says; its C++ is the consumer's.

    readme_test.py PROJECT_DIR BINARY_DIR

A fenced bash block after the line `<!-- tested -->` is run; a text block right after it is what it must print, where
`...` stands for anything."""
import doctest
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT, BINARIES = Path(sys.argv[1]), sys.argv[2]
README = (ROOT / "README.md").read_text()
TESTED = re.compile(r"^<!-- tested -->\n```bash\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.M | re.S)
CPP = re.compile(r"^```cpp\n(.*?)^```\n", re.M | re.S)


class Readme(unittest.TestCase):
    def test_marked_commands_print_what_it_says(self):
        blocks = TESTED.findall(README)
        self.assertGreater(len(blocks), 5)
        environment = {k: v for k, v in os.environ.items() if k not in ("LIVEWEIGHT_LOG", "LIVEWEIGHT_THREADS")}
        environment["PATH"] = f"{BINARIES}:{environment['PATH']}"
        for command, expected in blocks:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=ROOT / "samples/addition",
                                  env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
            with self.subTest(command=command):
                self.assertEqual(done.returncode, 0, done.stdout)
                same = doctest.OutputChecker().check_output(
                    expected, done.stdout, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
                self.assertTrue(not expected or same, f"expected\n{expected}\ngot\n{done.stdout}")

    def test_its_cpp_is_from_the_consumer(self):
        consumer = (ROOT / "examples/consumer/main.cc").read_text()
        for block in CPP.findall(README):
            self.assertIn(block, consumer)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
