#!/usr/bin/env python3
"""Requests beside updates of every kind keep every promise, for about a minute.

    soak_test.py LIVEWEIGHT SAMPLE_DIR

LIVEWEIGHT_TEST_SOAK_SECONDS asks for more or less. Speed is reported, and not tested: machines are shared."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

LIVEWEIGHT, SAMPLE = sys.argv[1], Path(sys.argv[2])
SECONDS = float(os.environ.get("LIVEWEIGHT_TEST_SOAK_SECONDS", "60"))
REFUSED, USAGE = 2, 64
REFUSALS = ("nan", "missing", "wrong_shape", "wrong_dtype", "late_rollback")


class Soak(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = {**os.environ, "TMPDIR": folder.name}

    def command(self, *arguments, directory=SAMPLE / "checkpoints/step_02500"):
        return [LIVEWEIGHT, "bench", "soak", "--directory", str(directory), "--json", *map(str, arguments)]

    def run_soak(self, *arguments, **options):
        return subprocess.run(self.command(*arguments, **options), capture_output=True, text=True,
                              env=self.environment)

    def assert_kept(self, report):
        self.assertIsNone(report["broken"])
        self.assertTrue(report["ok"])
        self.assertEqual(report["failed_steps"], 0)
        self.assertTrue(report["addresses_unchanged"])
        updates = sum((report["taken"]["count"], report["refused"]["count"], report["aborted"], report["rollbacks"]))
        self.assertEqual(report["digests_checked"], updates)
        self.assertEqual(report["pause_us"]["count"], report["taken"]["count"])

    def test_every_promise_is_kept_under_load(self):
        picture = self.folder / "soak.svg"
        done = self.run_soak("--seconds", SECONDS, "--plot", picture)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        report = json.loads(done.stdout)
        self.assert_kept(report)
        for what in ("requests", "tokens", "tokens_compared", "aborted", "rollbacks"):
            self.assertGreater(report[what], 0, what)
        self.assertLessEqual(report["tokens_compared"], report["tokens"])
        self.assertGreater(report["taken"]["count"], 0)
        self.assertGreater(report["refused"]["count"], 0)
        self.assertLessEqual(report["memory"]["growth_bytes"], report["memory"]["allowed_growth_bytes"])
        self.assertGreater(report["memory"]["warm_bytes"], 0)
        self.assertGreater(report["memory"]["end_bytes"], 0)
        steps = report["step_us"]
        self.assertGreaterEqual(steps["all"]["count"], steps["quiet"]["count"] + steps["beside_update"]["count"])
        for spread in (*steps.values(), report["pause_us"]):
            self.assertGreater(spread["count"], 0)
            self.assertLessEqual(spread["p50"], spread["p99"])
            self.assertLessEqual(spread["p999"], spread["max"])
        self.assertIn("</svg>", picture.read_text())
        self.assertEqual(list(self.folder.iterdir()), [picture], "something stayed in the temporary folder")

    def test_updates_of_every_kind_come_at_a_fast_pace_in_both_modes_with_deltas(self):
        for mode, scheme in (("flip", "int4_per_group"), ("copy", "fp8_per_block")):
            done = self.run_soak("--seconds", 6, "--every", 0.01, "--mode", mode, "--quant", scheme, "--seed", 7)
            self.assertEqual(done.returncode, 0, done.stderr)
            report = json.loads(done.stdout)
            self.assert_kept(report)
            for kind in ("full", "pieces", "partial", "delta"):
                self.assertGreater(report["taken"][kind], 0, kind)
            for kind in REFUSALS:
                self.assertGreater(report["refused"][kind], 0, kind)

    def test_bad_flags_are_refused_in_one_line(self):
        for code, says, *flags in ((USAGE, "--seconds", "--seconds", "nan"), (USAGE, "--clients", "--clients", "0"),
                                   (REFUSED, "in_place", "--mode", "in_place"),
                                   (REFUSED, ".svg or .png", "--plot", "soak.gif"),
                                   (REFUSED, "one scheme", "--quant", "none", "fp8_per_block")):
            done = self.run_soak(*flags)
            self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
            self.assertRegex(done.stderr, r"\Aliveweight: error: [^\n]+\n\Z")
            self.assertIn(says, done.stderr)
        missing = self.run_soak(directory=self.folder / "missing")
        self.assertEqual(missing.returncode, REFUSED)
        self.assertIn("expected a directory", missing.stderr)

    def test_an_interrupt_ends_it_with_its_report(self):
        with subprocess.Popen(self.command("--seconds", 600), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=self.environment) as process:
            time.sleep(4)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, errors)
        report = json.loads(out)
        self.assertTrue(report["interrupted"])
        self.assert_kept(report)
        self.assertLess(report["seconds"], 60)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
