"""Python in the README and docs/python.md, after `<!-- tested -->`, runs in the sample's directory and prints what the text
block after it says."""
import contextlib
import doctest
import io
import os
import re
import unittest

from sample import SAMPLE

ROOT = SAMPLE.parents[1]
BLOCK = re.compile(r"^<!-- tested -->\n```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.M | re.S)


class Documents(unittest.TestCase):
    def test_python_prints_what_they_say(self):
        for document in ("README.md", "docs/python.md"):
            blocks = BLOCK.findall((ROOT / document).read_text())
            self.assertTrue(blocks, document)
            for code, expected in blocks:
                output = io.StringIO()
                before = os.getcwd()
                os.chdir(SAMPLE)
                try:
                    with contextlib.redirect_stdout(output):
                        exec(compile(code, document, "exec"), {})
                finally:
                    os.chdir(before)
                same = doctest.OutputChecker().check_output(expected, output.getvalue(), doctest.ELLIPSIS)
                self.assertTrue(not expected or same, f"{document}: expected\n{expected}\ngot\n{output.getvalue()}")


if __name__ == "__main__":
    unittest.main()
