#!/usr/bin/env python3
"""A live model that follows versions whose files a file system shows late.

    late_files_test.py LIVEWEIGHT MODELS_DIR

Exit code 77 where the models are missing."""
import json
import os
import shutil
import subprocess
import time

from follow_fixture import BINARY, INDEX, Versions, main


class LateFiles(Versions):
    """Versions of which a file is shown later than another."""

    def late(self, *flags, scheme="none"):
        """follow, begun before all is there."""
        child = subprocess.Popen([BINARY, "follow", self.versions, "--quant", scheme, "--poll", "0.01", "--json",
                                  *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env={**os.environ, "LIVEWEIGHT_LOG": "warn"})
        self.addCleanup(child.kill)
        return child

    def waits(self, child, *parts):
        line = child.stderr.readline()
        for part in ("liveweight: warn: ", "not complete yet", *parts):
            self.assertIn(part, line)

    def takes(self, child, last, scheme="none"):
        """To its end, without another warning."""
        out, warnings = child.communicate(timeout=60)
        self.assertEqual((child.returncode, warnings), (0, ""))
        digests = [v["digest"] for v in json.loads(out)["versions"]]
        self.assertEqual(digests, [self.cold(n, scheme) for n in range(1, last + 1)])

    def show_index(self, number):
        """Of a new delta: where its shard is, and where it will be."""
        self.add_delta(number - 1, number)
        whole, shown = self.root / f"whole_{number}", self.versions / f"weight_v{number:06}"
        shown.rename(whole)
        shown.mkdir()
        shutil.copy(whole / INDEX, shown)
        shard, = whole.glob("*.safetensors")
        return shard, shown / shard.name

    def test_an_index_that_is_there_before_its_shard_is_waited_with(self):
        whole, shown = self.show_index(1)
        child = self.late("--until", 1)
        self.waits(child, "weight_v000001", f"shard {shown.name} is missing")
        shutil.copy(whole, shown)
        self.takes(child, 1)

    def test_a_shard_that_grows_is_waited_for(self):
        whole, shown = self.show_index(1)
        content = whole.read_bytes()
        shown.write_bytes(content[:len(content) // 2])
        child = self.late("--until", 1)
        self.waits(child, shown.parent.name, shown.name)
        with shown.open("ab", buffering=0) as file:
            for begin in range(len(content) // 2, len(content), 300):
                file.write(content[begin:begin + 300])
                time.sleep(0.001)
        self.takes(child, 1)

    def test_a_payload_that_is_not_all_there_changes_neither_model_nor_mirror_and_is_waited_for(self):
        scheme = "int8_per_channel"
        for encoding in ("indices", "xor", "overwrite"):
            self.add_delta(0, 1, encoding)
            delta, mirror = self.versions / "weight_v000001", self.root / encoding
            shard, = delta.glob("*.safetensors")
            whole = shard.read_bytes()
            shard.write_bytes(whole[:-400] + bytes(400))
            child = self.late("--until", 1, "--mirror", mirror, scheme=scheme)
            self.waits(child, "weight_v000001")
            child.kill()
            child.communicate()
            delta.rename(self.root / "aside")
            got = self.follow(scheme, mirror=mirror)
            self.assertEqual((got["started"], got["digest"]), (f"000000 from {mirror}", self.cold(0, scheme)))
            (self.root / "aside").rename(delta)
            child = self.late("--until", 1, "--mirror", mirror, scheme=scheme)
            self.waits(child, "weight_v000001")
            shard.write_bytes(whole)
            self.takes(child, 1, scheme)
            shutil.rmtree(delta)

    def test_a_delta_that_is_there_before_the_one_below_it_is_no_gap(self):
        self.add_delta(0, 1)
        self.add_delta(1, 2)
        first = self.versions / "weight_v000001"
        first.rename(self.root / "first")
        child = self.late("--until", 2)
        self.waits(child, "weight_v000002: a gap")
        (self.root / "first").rename(first)
        self.takes(child, 2)

    def test_the_first_checkpoint_is_waited_for(self):
        file = self.versions / "weight_v000000" / "model.safetensors"
        whole = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(whole[:1000])
        child = self.late("--until", 0)
        self.waits(child, "weight_v000000")
        file.write_bytes(whole)
        self.takes(child, 0)

    def test_a_directory_of_versions_may_be_empty_when_it_is_followed(self):
        first = self.versions / "weight_v000000"
        first.rename(self.root / "first")
        for flags in [("--patience", "0.2", "--poll", "0.05"), ("--once",)]:
            self.assertIn("expected at least one full checkpoint",
                          self.refused("follow", self.versions, "--quant", "none", *flags))
        child = self.late("--until", 0)
        self.waits(child, "expected at least one full checkpoint")
        (self.root / "first").rename(first)
        self.takes(child, 0)

    def test_what_stays_late_is_an_error_when_patience_is_over_and_at_once_where_nothing_is_waited_for(self):
        impatient = ("--patience", "0.2", "--poll", "0.05"), ("--once",)
        whole, shown = self.show_index(1)
        for flags in impatient:
            self.assertIn(f"shard {shown.name} is missing",
                          self.refused("follow", self.versions, "--quant", "none", *flags))
        shutil.copy(whole, shown)
        shutil.copytree(shown.parent, self.versions / "weight_v000002")
        index = self.versions / "weight_v000002" / INDEX
        index.write_text(index.read_text().replace('"0"', '"7"').replace('"1"', '"8"'))
        for flags in impatient:
            begin = time.monotonic()
            self.assertIn("weight_v000002: a gap", self.refused("follow", self.versions, "--quant", "none", *flags))
            self.assertGreater(time.monotonic() - begin, 0 if "--once" in flags else 0.2)

    def test_a_delta_that_can_never_be_taken_is_refused_without_waiting(self):
        self.add_delta(0, 1)
        begin = time.monotonic()
        self.assertIn("no mirror (--mirror DIR)",
                      self.refused("follow", self.versions, "--quant", "fp8_per_channel", "--poll", "0.01"))
        self.assertLess(time.monotonic() - begin, 20)


if __name__ == "__main__":
    main()
