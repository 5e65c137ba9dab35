#!/usr/bin/env python3
"""A live model that follows deltas over the fine-tuning trajectory, and is killed while it does.

    follow_test.py LIVEWEIGHT MODELS_DIR

Exit code 77 where the models are missing. LIVEWEIGHT_TEST_KILLS asks for more kills."""
import json
import os
import random
import shutil
import subprocess
import time

from follow_fixture import BINARY, SCHEMES, STEPS, Versions, main, run, step


class Follow(Versions):
    def test_every_version_equals_a_cold_load(self):
        self.add_deltas(STEPS)
        for scheme in SCHEMES:
            got = self.follow(scheme, mirror=self.root / scheme)
            self.assertEqual([v["digest"] for v in got["versions"]],
                             [self.cold(n, scheme) for n in range(1, STEPS + 1)], scheme)

    def test_a_restart_goes_on_from_the_mirror_and_a_newer_checkpoint_is_skipped_to(self):
        mirror = self.root / "mirror"
        self.add_deltas(2)
        self.follow(mirror=mirror)
        self.add_delta(2, 3)
        got = self.follow(mirror=mirror)
        self.assertTrue(got["started"].startswith("2 from"), got["started"])
        self.assertEqual((got["digest"], len(got["versions"])), (self.cold(3), 1))
        shutil.copytree(step(6), self.versions / "weight_v000006")
        self.add_delta(6, 7)
        got = self.follow(mirror=mirror)
        self.assertEqual(got["digest"], self.cold(7))

    def test_a_mirror_that_another_run_with_the_same_versions_left_is_refused(self):
        mirror = self.root / "mirror"
        self.add_deltas(2)
        self.follow(mirror=mirror)
        shutil.rmtree(self.versions)
        shutil.copytree(step(4), self.versions / "weight_v000000")
        self.json_of("diff", step(4), step(5), self.versions / "weight_v000003", "--base-version", 2, "--new-version", 3)
        message = self.refused("follow", self.versions, "--quant", "fp8_per_channel", "--mirror", mirror, "--once")
        self.assertIn(f"{mirror}: the mirror was made of another version 000000 than {self.versions}/weight_v000000: another run "
                      "left it; remove it", message)
        shutil.rmtree(self.versions / "weight_v000003")
        shutil.rmtree(mirror)
        self.assertEqual(self.follow(mirror=mirror)["digest"], self.cold(4))

    def test_all_ranks_of_a_process_follow_on_one_mirror(self):
        self.add_deltas(3)
        for scheme in ("int8_per_channel", "fp8_per_block", "fp8_per_tensor"):
            mirror = self.root / scheme
            cold = [self.json_of("digest", step(n), "--quant", scheme, "--tp-size", 2)["model"] for n in range(1, 4)]
            got = self.follow(scheme, **{"mirror": mirror, "tp-size": 2, "until": 2})
            self.assertEqual([v["digest"] for v in got["versions"]], cold[:2], scheme)
            got = self.follow(scheme, **{"mirror": mirror, "tp-size": 2})
            self.assertTrue(got["started"].startswith("2 from"), got["started"])
            self.assertEqual([v["digest"] for v in got["versions"]], cold[2:], scheme)

    def test_ranks_of_two_processes_follow_on_one_mirror(self):
        self.add_deltas(2)
        for rank in 0, 1:
            got = self.follow(**{"mirror": self.root / "mirror", "tp-size": 2, "tp-rank": rank})
            cold = self.json_of("digest", step(2), "--quant", "fp8_per_channel", "--tp-size", 2, "--tp-rank", rank)
            self.assertEqual(got["digest"], cold["model"])

    def test_ranks_of_several_processes_follow_on_one_mirror_each_at_its_pace(self):
        for scheme in ("fp8_per_channel", "int4_per_group", "fp8_per_tensor"):
            for delta in self.versions.glob("weight_v00000[1-9]"):
                shutil.rmtree(delta)
            ranks = [subprocess.Popen(
                [BINARY, "follow", self.versions, "--quant", scheme, "--mirror", self.root / scheme, "--tp-size", "2",
                 "--tp-rank", str(rank), "--until", "6", "--poll", "0.01", "--json"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for rank in range(2)]
            for number in range(1, 7):
                if number == 4:
                    shutil.copytree(step(number), self.root / "whole")
                    (self.root / "whole").rename(self.versions / f"weight_v{number:06}")
                else:
                    self.add_delta(number - 1, number, random.choice(("indices", "xor", "overwrite")))
                time.sleep(random.random() * 0.2)
            for rank, child in enumerate(ranks):
                out, error = child.communicate(timeout=120)
                self.assertEqual((child.returncode, error), (0, ""), (scheme, rank))
                for version in json.loads(out)["versions"]:
                    cold = self.json_of("digest", step(int(version["name"])), "--quant", scheme, "--tp-size", 2,
                                        "--tp-rank", rank)
                    self.assertEqual(version["digest"], cold["model"], (scheme, rank, version["name"]))

    def test_reload_takes_deltas_into_all_ranks(self):
        self.add_deltas(2)
        got = self.json_of("reload", step(0), self.versions / "weight_v000001", self.versions / "weight_v000002", step(3),
                           "--quant", "int4_per_group", "--mirror", self.root / "mirror", "--tp-size", 2)
        self.assertEqual([(v["equal"], v["addresses_unchanged"]) for v in got["reloads"]], [(True, True)] * 3)

    def test_deltas_in_a_trainers_names_are_verified_and_applied_as_they_are_taken(self):
        names = self.root / "names.json"
        names.write_text('[["^policy\\\\.", ""]]')
        for prefix, flags in ("module.", ()), ("policy.", ("--name-map", names)):
            for encoding in ("indices", "xor", "overwrite"):
                sides = []
                for number in 0, 1:
                    side = self.root / f"{prefix}{encoding}{number}"
                    shutil.copytree(step(number), side)
                    weights = side / "model.safetensors"
                    content = weights.read_bytes()
                    length = int.from_bytes(content[:8], "little")
                    header = {key if key == "__metadata__" else prefix + key: value
                              for key, value in json.loads(content[8:8 + length]).items()}
                    text = json.dumps(header).encode()
                    weights.chmod(0o644)
                    weights.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length:])
                    sides.append(side)
                delta = self.root / f"{prefix}{encoding}"
                self.json_of("diff", *sides, delta, "--encoding", encoding)
                got = self.json_of("reload", step(0), delta, "--quant", "int8_per_channel", "--mirror", self.root / "mirror", *flags)
                self.assertEqual([(v["equal"], v["digest"]) for v in got["reloads"]], [(True, self.cold(1, "int8_per_channel"))])
                if not flags:
                    self.json_of("apply", step(0), delta, "--out", self.root / f"out{encoding}")
                    self.assertEqual(self.json_of("digest", self.root / f"out{encoding}", "--quant", "none")["model"], self.cold(1, "none"))

    def test_a_gap_is_refused_by_name(self):
        self.add_delta(0, 1)
        self.add_delta(2, 3)
        self.assertIn("weight_v000003: a gap", self.refused("follow", self.versions, "--quant", "none", "--once"))

    def test_what_was_taken_before_an_error_is_told_with_it_and_the_error_names_the_directory(self):
        self.add_delta(0, 1)
        mirror = self.root / "mirror"
        taken = self.follow(mirror=mirror)
        shutil.copytree(step(2), self.root / "broken")
        weights = self.root / "broken" / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-2:] = b"\xc0\x7f"
        weights.chmod(0o644)
        weights.write_bytes(content)
        self.json_of("diff", step(1), self.root / "broken", self.versions / "weight_v000002", "--base-version", 1,
                     "--new-version", 2)
        shutil.rmtree(mirror)
        done = run("follow", self.versions, "--quant", "fp8_per_channel", "--once", "--mirror", mirror)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"{self.versions}/weight_v000002: tensor ", done.stderr)
        self.assertIn("expected finite values", done.stderr)
        got = json.loads(done.stdout)
        self.assertEqual([v["digest"] for v in got["versions"]], [taken["digest"]])
        self.assertEqual((got["version"], got["digest"]), (taken["version"], taken["digest"]))
        self.assertIn(got["error"]["message"], done.stderr)

    def test_it_stops_at_the_version_asked_for_though_a_newer_checkpoint_is_there(self):
        self.add_delta(0, 1)
        self.add_delta(1, 2)
        shutil.copytree(step(5), self.versions / "weight_v000005")
        got = self.follow("none", until=2)
        self.assertEqual([v["name"] for v in got["versions"]], ["1", "2"])
        self.assertEqual(got["digest"], self.cold(2, "none"))
        self.assertEqual(self.follow("none")["digest"], self.cold(5, "none"))

    def test_two_directories_of_one_version_are_refused_by_both_names(self):
        self.add_delta(0, 1)
        shutil.copytree(self.versions / "weight_v000001", self.versions / "again")
        error = self.refused("follow", self.versions, "--quant", "none", "--once")
        for part in ("weight_v000001", "again", "version 1"):
            self.assertIn(part, error)
        shutil.rmtree(self.versions / "again")
        shutil.copytree(step(0), self.versions / "copy_0")
        self.assertIn("copy_0", self.refused("follow", self.versions, "--quant", "none", "--once"))

    def test_of_several_deltas_on_one_version_the_oldest_is_taken_first(self):
        for number in (3, 1, 2):
            self.add_delta(0, number)
        self.add_delta(1, 4)
        got = self.follow("none")
        self.assertEqual([v["name"] for v in got["versions"]], ["1", "4"])

    def test_a_delta_that_names_no_base_is_on_the_version_before_its_own(self):
        self.add_delta(0, 1)
        self.json_of("diff", step(1), step(2), self.root / "plain")
        shard, = (self.root / "plain").glob("*.safetensors")
        content = shard.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8:8 + length])
        del header["__metadata__"]
        bare = json.dumps(header).encode().ljust(length)
        delta = self.versions / "weight_v000002"
        delta.mkdir()
        (delta / "model.safetensors").write_bytes(len(bare).to_bytes(8, "little") + bare + content[8 + length:])
        got = self.follow("none")
        self.assertEqual(([v["name"] for v in got["versions"]], got["digest"]), (["1", "000002"], self.cold(2, "none")))

    def test_without_a_mirror_a_delta_that_needs_it_is_refused(self):
        self.add_delta(0, 1)
        self.assertIn("no mirror (--mirror DIR)",
                      self.refused("follow", self.versions, "--quant", "fp8_per_channel", "--once"))
        self.assertEqual(self.follow("none")["digest"], self.cold(1, "none"))

    def test_after_a_kill_at_any_instant_it_goes_on_from_a_whole_version(self):
        self.add_deltas(STEPS)
        cold = {str(n): self.cold(n) for n in range(STEPS + 1)}
        mirror = self.root / "mirror"
        for _ in range(int(os.environ.get("LIVEWEIGHT_TEST_KILLS", "25"))):
            child = subprocess.Popen([BINARY, "follow", self.versions, "--quant", "fp8_per_channel", "--mirror", mirror,
                                      "--until", str(STEPS + 1)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(random.random() * 0.12)
            child.kill()
            self.assertEqual(child.communicate()[1], b"")
            if random.random() < 0.5:
                shutil.rmtree(mirror, ignore_errors=True)
                continue
            got = self.follow(mirror=mirror)
            name = got["started"].split()[0]
            self.assertIn(str(int(name)), cold)
            self.assertEqual([v["digest"] for v in got["versions"]],
                             [cold[str(n)] for n in range(int(name) + 1, STEPS + 1)])
            self.assertEqual(got["digest"], cold[str(STEPS)])

    def test_a_damaged_mirror_is_refused_with_its_name_and_what_to_do(self):
        self.add_deltas(4)
        mirror = self.root / "mirror"
        self.follow(mirror=mirror)
        for name, at in ("log", 1 / 2), ("model.safetensors", 1):
            copy = self.root / name
            shutil.copytree(mirror, copy)
            data = bytearray((copy / "1" / name).read_bytes())
            data[int(at * len(data)) - 1] ^= 1
            (copy / "1" / name).write_bytes(data)
            message = self.refused("follow", self.versions, "--quant", "fp8_per_channel", "--mirror", copy, "--once")
            self.assertIn(f"{copy}/1/{name}: the mirror is damaged: ", message)
            self.assertIn(f"; remove {copy}, and it is made anew", message)
            shutil.rmtree(copy)
            self.assertEqual(self.follow(mirror=copy)["digest"], self.cold(4))

    def test_apply_leaves_the_old_or_the_new_checkpoint_and_all_other_files_after_a_kill(self):
        self.add_deltas(1)
        cold = {self.cold(0), self.cold(1)}
        others = {"optimizer/rank_0/state.bin": b"state", ".git/HEAD": b"ref", "consolidated.safetensors": b"other"}
        for _ in range(int(os.environ.get("LIVEWEIGHT_TEST_KILLS", "25"))):
            target = self.root / "plain"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(step(0), target)
            for name, content in others.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(content)
            child = subprocess.Popen([BINARY, "apply", target, self.versions / "weight_v000001"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.random() * 0.03)
            child.kill()
            child.wait()
            self.assertIn(self.json_of("digest", target, "--quant", "fp8_per_channel")["model"], cold)
            for leftover in self.root.glob("plain.tmp.*"):
                shutil.rmtree(leftover)
            self.assertEqual({name: (target / name).read_bytes() for name in others}, others)


if __name__ == "__main__":
    main()
