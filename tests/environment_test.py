#!/usr/bin/env python3
"""The environment variables and the flags that win over them.   environment_test.py LIVEWEIGHT SAMPLE_DIR"""
import os
import shutil
import subprocess
import sys
import unittest

LIVEWEIGHT, SAMPLE = sys.argv[1], sys.argv[2]
FIRST, NEXT = f"{SAMPLE}/checkpoints/step_02500", f"{SAMPLE}/finetune/step_001"


def run(arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LIVEWEIGHT_")}
    return subprocess.run([LIVEWEIGHT, *arguments], env=clean | environment, capture_output=True, text=True)


def reload(*flags, directory=NEXT, **environment):
    return run(["reload", FIRST, directory, "--no-verify", *flags], **environment)


class Environment(unittest.TestCase):
    def test_standard_error_is_empty_by_default(self):
        self.assertEqual(reload().stderr, "")

    def test_info_tells_loads_and_reloads(self):
        lines = reload(LIVEWEIGHT_LOG="info").stderr.splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], rf"^liveweight: info: loaded {FIRST} in \d+\.\d+ s: ")
        self.assertRegex(lines[1], rf"^liveweight: info: version 2 from {NEXT} in \d+\.\d+ s, pause ")

    def test_debug_also_tells_threads_and_instructions(self):
        first = reload(LIVEWEIGHT_LOG="debug", LIVEWEIGHT_THREADS="2").stderr.splitlines()[0]
        self.assertRegex(first, r"^liveweight: debug: 2 threads, kernels for \w+$")

    def test_warn_tells_refusals_beside_the_error(self):
        lines = reload(directory="nowhere", LIVEWEIGHT_LOG="warn").stderr.splitlines()
        self.assertEqual([line.split(":")[1] for line in lines], [" warn", " error"])

    def test_a_refusal_is_one_line_by_default(self):
        refused = reload(directory="nowhere")
        self.assertEqual((refused.returncode, len(refused.stderr.splitlines())), (2, 1))

    def test_flags_win(self):
        self.assertEqual(reload("--log", "error", LIVEWEIGHT_LOG="debug").stderr, "")
        first = reload("--threads", "1", LIVEWEIGHT_LOG="debug", LIVEWEIGHT_THREADS="2").stderr.splitlines()[0]
        self.assertIn("1 threads", first)

    def test_pinning_is_a_flag_or_a_variable(self):
        def pinned(*flags, **environment):
            return "pinned" in reload(*flags, "--log", "debug", **environment).stderr
        self.assertFalse(pinned())
        self.assertTrue(pinned("--pin-threads"))
        self.assertTrue(pinned(LIVEWEIGHT_PIN_THREADS="1"))
        self.assertFalse(pinned(LIVEWEIGHT_PIN_THREADS="0"))
        self.assertFalse(pinned("--no-pin-threads", LIVEWEIGHT_PIN_THREADS="1"))

    def test_threads_are_those_that_the_process_may_use(self):
        if not (taskset := shutil.which("taskset")):
            self.skipTest("taskset is not there")
        processor = str(min(os.sched_getaffinity(0)))
        lines = subprocess.run([taskset, "-c", processor, LIVEWEIGHT, "reload", FIRST, NEXT, "--no-verify", "--log", "debug"],
                               env={k: v for k, v in os.environ.items() if not k.startswith("LIVEWEIGHT_")},
                               capture_output=True, text=True).stderr.splitlines()
        self.assertIn("debug: 1 threads", lines[0])

    def test_messages_never_reach_the_json(self):
        self.assertTrue(reload("--json", LIVEWEIGHT_LOG="debug").stdout.startswith('{"initial"'))

    def test_bad_values_are_refused_by_name(self):
        for name, value in [("LIVEWEIGHT_LOG", "loud"), ("LIVEWEIGHT_THREADS", "many"), ("LIVEWEIGHT_THREADS", "0"),
                            ("LIVEWEIGHT_PIN_THREADS", "yes")]:
            refused = reload(**{name: value})
            self.assertEqual((refused.returncode, refused.stdout), (2, ""))
            self.assertRegex(refused.stderr, rf"^liveweight: error: {name}: expected .*, got {value}\n$")
        self.assertIn("--log: expected", reload("--log", "loud").stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
