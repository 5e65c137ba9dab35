#!/usr/bin/env python3
"""The demo, run fast, keeps its promises; bad flags are refused; an interrupt ends it cleanly.

    demo_test.py DEMO_PROGRAM SAMPLE_DIR"""
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

DEMO, SAMPLE = Path(sys.argv[1]), Path(sys.argv[2])
INTERRUPTED = 130


def command(*arguments):
    return [str(DEMO), "--sample", str(SAMPLE), *arguments]


def sampling_error(answered):
    """Four standard errors of an accuracy of so many answers, where a slow machine did not come to all problems."""
    return max(0.1, 2 / math.sqrt(max(answered, 1)))


class DemoTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = {**os.environ, "TMPDIR": folder.name}

    def run_demo(self, *arguments):
        return subprocess.run(command(*arguments), capture_output=True, text=True, env=self.environment)

    def assert_refused(self, code, says, *arguments):
        run = self.run_demo(*arguments)
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stdout, "")
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertTrue(run.stderr.startswith("liveweight-demo: error: "), run.stderr)
        self.assertIn(says, run.stderr)

    def test_every_promise_is_kept_and_seen_in_the_numbers(self):
        picture = self.folder / "picture.svg"
        run = self.run_demo("--seconds", "1", "--json", "--picture", str(picture))
        self.assertEqual(run.returncode, 0, run.stderr)
        shown = json.loads(run.stdout)
        rows, summary = shown["rows"], shown["summary"]
        listed = json.loads((SAMPLE / "sample.json").read_text())
        self.assertEqual([row["checkpoint"] for row in rows],
                         [entry["directory"] for entry in listed["checkpoints"] + listed["finetune"]])
        self.assertEqual([row["version"] for row in rows], list(range(1, len(rows) + 1)))
        for row in rows:
            self.assertEqual(row["digest"], row["cold_digest"])
            self.assertTrue(row["addresses_unchanged"])
            self.assertGreater(row["quantization_error_percent"], 0.1)
            self.assertLess(row["quantization_error_percent"], 2)
            self.assertAlmostEqual(row["accuracy"], row["reference_accuracy"], delta=sampling_error(row["answered"]))
        self.assertEqual(len({row["digest"] for row in rows}), len(rows))
        self.assertEqual([bad["error"]["code"] for bad in shown["bad_updates"]], ["non_finite", "bad_checkpoint"])
        self.assertTrue(all(bad["changed_nothing"] for bad in shown["bad_updates"]))
        self.assertEqual(summary["failed"], 0)
        self.assertGreaterEqual(summary["requests"], sum(row["answered"] for row in rows))
        self.assertTrue(all(summary["promises"].values()))
        self.assertTrue(summary["ok"])
        self.assertIn("</svg>", picture.read_text())
        self.assertEqual(list(self.folder.iterdir()), [picture], "something stayed in the temporary folder")

    def test_bad_flags_are_refused_in_one_line_before_anything_runs(self):
        self.assert_refused(64, "--seconds", "--seconds", "-1")
        self.assert_refused(64, "--seconds", "--seconds", "nan")
        self.assert_refused(64, "--clients", "--clients", "many")
        self.assert_refused(64, "--nonsense", "--nonsense")
        self.assert_refused(2, "int8_per_channel", "--quant", "int3")
        self.assert_refused(2, ".svg or .png", "--picture", "picture.gif")
        self.assert_refused(2, "--picture", "--picture", str(self.folder / "missing" / "picture.svg"))
        self.assert_refused(2, "sample.json", "--sample", str(self.folder))

    def test_an_interrupt_ends_it_with_the_summary_of_what_was_seen(self):
        with subprocess.Popen(command("--seconds", "100", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=self.environment) as process:
            process.stderr.readline()  # it has begun
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, INTERRUPTED, errors)
        summary = json.loads(out)["summary"]
        self.assertTrue(summary["interrupted"])
        self.assertFalse(summary["ok"])
        self.assertEqual(summary["failed"], 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
