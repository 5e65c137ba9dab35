#!/usr/bin/env python3
"""Where the machine gives less than is asked for, the command line says so in one line and leaves nothing half-made.

    limits_test.py LIVEWEIGHT SAMPLE_DIR"""
import resource
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

LIVEWEIGHT, SAMPLE = sys.argv[1], Path(sys.argv[2])
FIRST, NEXT = SAMPLE / "checkpoints/step_02500", SAMPLE / "finetune/step_001"


def run(*arguments, limit=None, value=0):
    def less():
        resource.setrlimit(limit, (value, value))
    return subprocess.run([LIVEWEIGHT, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          preexec_fn=less if limit is not None else None)


class Limits(unittest.TestCase):
    def assert_refused(self, done, what=""):
        self.assertEqual(done.returncode, 2, (what, done.stderr))
        self.assertRegex(done.stderr, r"\Aliveweight: error: [^\n]+\n\Z", what)

    def test_memory(self):
        """From what does not even hold the program to what holds all: done or refused, and never a crash."""
        codes = []
        for mebibytes in [*range(18, 40, 1), 256, 1024]:
            done = run("reload", FIRST, NEXT, "--quant", "int8_per_channel", "--no-verify",
                       limit=resource.RLIMIT_AS, value=mebibytes << 20)
            if "error while loading shared libraries" in done.stderr:
                continue  # the system's loader, before there was a program
            codes.append(done.returncode)
            if done.returncode != 0:
                self.assert_refused(done, f"{mebibytes} MiB")
        self.assertIn(2, codes)
        self.assertEqual(codes[-1], 0)

    def test_files_open_at_a_time(self):
        for files in range(4, 12):
            done = run("reload", FIRST, NEXT, "--no-verify", limit=resource.RLIMIT_NOFILE, value=files)
            if done.returncode != 0:
                self.assert_refused(done, f"{files} files")

    def test_the_size_of_a_file(self):
        """As on a full disk: the write that fails is named, and neither the result nor a part of it stays."""
        commands = {"quantize": [FIRST, "--quant", "fp8_per_block"], "diff": [FIRST, NEXT, "--encoding", "xor"]}
        for name, arguments in commands.items():
            with tempfile.TemporaryDirectory() as directory:
                inputs = [a for a in arguments if isinstance(a, Path)]
                flags = [a for a in arguments if not isinstance(a, Path)]
                done = run(name, *inputs, f"{directory}/out", *flags, limit=resource.RLIMIT_FSIZE, value=20_000)
                self.assert_refused(done, name)
                self.assertIn("File too large", done.stderr)
                self.assertEqual(list(Path(directory).iterdir()), [], name)

    def test_a_full_disk(self):
        """A file system of its own of a quarter of a megabyte, in a namespace where this user may mount one."""
        mount = "mount -t tmpfs -o size=256k tmpfs \"$1\" && shift && exec \"$@\""
        with tempfile.TemporaryDirectory() as disk:
            in_namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", disk]
            if subprocess.run([*in_namespace, "true"], capture_output=True).returncode != 0:
                self.skipTest("this user may not mount a file system, not even in a namespace of its own")
            listed = f"; code=$?; ls -A {disk} >&2; exit $code"
            for command in (["quantize", FIRST, f"{disk}/out", "--quant", "fp8_per_block"],
                            ["reload", FIRST, NEXT, "--quant", "fp8_per_channel", "--mirror", f"{disk}/mirror"]):
                line = " ".join(shlex.quote(str(word)) for word in [LIVEWEIGHT, *command])
                done = subprocess.run([*in_namespace, "sh", "-c", line + listed], capture_output=True, text=True)
                error, *left = done.stderr.splitlines()
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertRegex(error, "liveweight: error: .*No space left on device")
                self.assertIn(left, ([], ["mirror"]), command[0])

    def test_a_directory_that_cannot_be_written(self):
        for name, arguments in {"quantize": [FIRST], "diff": [FIRST, NEXT]}.items():
            flags = ["--quant", "fp8_per_block"] if name == "quantize" else []
            self.assert_refused(run(name, *arguments, "/proc/liveweight/out", *flags), name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
