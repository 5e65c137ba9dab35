"""The peak of a process's own memory, watched from another process."""
import ctypes
import gc
import os
import subprocess
import sys

_WATCH = """
import select, sys
path, peak = f"/proc/{sys.argv[1]}/status", 0
def anonymous():
    return next(int(line.split()[1]) for line in open(path) if line.startswith("RssAnon")) * 1024
print(anonymous(), flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    peak = max(peak, anonymous())
print(peak, flush=True)
"""


class PeakMemory:
    """As a context manager: `extra_bytes` of anonymous memory beyond what was there at the beginning, at most."""

    def __enter__(self):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else what was freed before, and kept, hides what is taken now
        self.process = subprocess.Popen([sys.executable, "-c", _WATCH, str(os.getpid())], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.before = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        out, _ = self.process.communicate("\n")
        self.extra_bytes = max(int(out) - self.before, 0)
