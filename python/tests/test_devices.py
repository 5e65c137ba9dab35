import importlib.util
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

MISSING = [package for package in ("torch", "torchao") if importlib.util.find_spec(package) is None]
MISSING += [program for program in ("c++", "ninja") if shutil.which(program) is None]


@unittest.skipIf(MISSING, f"{', '.join(MISSING)} not installed")
class Devices(unittest.TestCase):
    def test_parameters_on_other_devices_and_on_several_are_reloaded(self):
        done = subprocess.run([sys.executable, Path(__file__).with_name("on_other_devices.py")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
