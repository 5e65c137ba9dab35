#!/usr/bin/env python3
"""Deltas by an encoder and decoder that share no code with the project, over the fine-tuning trajectory.

    delta_independent.py LIVEWEIGHT MODELS_DIR

Exit code 77 where a module or the models are missing."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

try:
    import numpy as np
    import xxhash
    import zstandard
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)


def read_safetensors(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    data = raw[8 + size :]
    return {n: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for n, e in header.items()}, metadata


def write_safetensors(path, tensors, metadata):
    header, at = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(d for _, _, d in tensors.values()))


def checksum(algorithm, data):
    return xxhash.xxh3_128_hexdigest(data) if algorithm == "xxh3-128" else f"{zlib.adler32(data):08x}"


def encode(encoding, old, new):
    a, b = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    if encoding == "xor":
        return (a ^ b).tobytes()
    at = np.flatnonzero(a != b).astype("<u4")
    return struct.pack("<I", at.size) + at.tobytes() + b[at].tobytes()


def make_delta(directory, encoding, algorithm, version, old, new):
    directory.mkdir()
    changed = [n for n in old if old[n][2] != new[n][2]]
    halves = [changed[: len(changed) // 2], changed[len(changed) // 2 :]]
    weight_map = {}
    for i, names in enumerate(halves):
        file = f"model-{i:05}-of-00002.safetensors"
        blobs = {n: zstandard.ZstdCompressor().compress(encode(encoding, old[n][2], new[n][2])) for n in names}
        sums = {n: checksum(algorithm, new[n][2]) for n in names}
        write_safetensors(directory / file, {n: ("U8", [len(b)], b) for n, b in blobs.items()}, sums)
        weight_map |= {n: file for n in names}
    metadata = {"version": f"{version:06}", "base_version": f"{version - 1:06}", "delta_encoding": encoding,
                "compression_format": "zstd", "checksum_format": algorithm}
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": metadata, "weight_map": weight_map}))


def decode_ours(directory, old):
    """New bytes of each tensor, by the documented formats."""
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    encoding = index["metadata"]["delta_encoding"]
    new = {n: bytearray(t[2]) for n, t in old.items()}
    for file in sorted(set(index["weight_map"].values())):
        tensors, sums = read_safetensors(directory / file)
        for name in sums:
            a = np.frombuffer(new[name], np.uint8)
            if encoding == "indices":
                values = np.frombuffer(tensors[name + ".values"][2], "<u2")
                a.view("<u2")[np.frombuffer(tensors[name + ".indices"][2], "<u4")] = values
                continue
            plain = zstandard.ZstdDecompressor().decompress(tensors[name][2])
            if encoding == "xor":
                a ^= np.frombuffer(plain, np.uint8)
            else:
                n = struct.unpack("<I", plain[:4])[0]
                a[np.frombuffer(plain[4 : 4 + 4 * n], "<u4")] = np.frombuffer(plain[4 + 4 * n :], np.uint8)
            assert checksum(index["metadata"]["checksum_format"], bytes(a)) == sums[name], name
    return {n: bytes(b) for n, b in new.items()}


def run(binary, *arguments, code=0):
    done = subprocess.run([binary, *map(str, arguments), "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return json.loads(done.stdout) if code == 0 else done.stderr


def kill_while_applying(binary, scratch, old, deltas, new, times):
    """`apply` in place, killed at random instants: the directory is the old version or the new one, never between."""
    before, after = read_safetensors(old / "model.safetensors")[0], new
    seen = set()
    for i in range(times):
        target = scratch / f"kill_{i}"
        shutil.copytree(old, target)
        process = subprocess.Popen([binary, "apply", target, *deltas], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.04))
        process.kill()
        process.wait()
        state = read_safetensors(target / "model.safetensors")[0]
        assert state in (before, after), i
        assert sorted(p.name for p in target.iterdir()) == sorted(p.name for p in old.iterdir()), i
        seen.add("old" if state == before else "new")
    return seen


def main(binary, models):
    trajectory = models / "trajectory"
    if not trajectory.exists():
        print(f"skipped: {trajectory} is not there")
        return 77
    steps = [trajectory / f"step_{i:03}" for i in range(12)]
    states = [read_safetensors(s / "model.safetensors")[0] for s in steps]
    expected = json.loads((trajectory / "trajectory.json").read_text())["steps"]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        kinds = [("xor", "xxh3-128"), ("overwrite", "adler32"), ("indices", "xxh3-128")]
        for i in range(1, 12):
            encoding, algorithm = kinds[i % 3]
            ours = scratch / f"ours_{i}"
            report = run(binary, "diff", steps[i - 1], steps[i], ours, "--encoding", encoding, "--checksum",
                         algorithm, "--base-version", i - 1, "--new-version", i)
            counts = {t["name"]: t["changed"] for t in report["tensors"]}
            assert counts == {n: expected[i]["changed_by_tensor"].get(n, 0) for n in counts}, i
            assert report["changed"] == expected[i]["changed"]
            assert decode_ours(ours, states[i - 1]) == {n: t[2] for n, t in states[i].items()}, i
            make_delta(scratch / f"theirs_{i}", *kinds[i % 2], i, states[i - 1], states[i])
        for name in ("ours", "theirs"):
            out = scratch / f"out_{name}"
            report = run(binary, "apply", steps[0], *[scratch / f"{name}_{i}" for i in range(1, 12)], "--out", out)
            assert report["deltas"] == 11 and int(report["version"]) == 11
            assert read_safetensors(out / "model.safetensors")[0] == states[11], name
            assert (out / "config.json").read_bytes() == (steps[0] / "config.json").read_bytes()
        refused = run(binary, "apply", scratch / "out_ours", scratch / "theirs_3", code=2)
        assert "base_version" in refused, refused
        wrong = run(binary, "apply", steps[5], scratch / "theirs_3", "--out", scratch / "never", code=2)
        assert "not made from this base" in wrong and not (scratch / "never").exists(), wrong
        times = int(os.environ.get("LIVEWEIGHT_KILLS", "20"))
        deltas = [scratch / f"ours_{i}" for i in range(1, 12)]
        leftovers = [p.name for p in scratch.iterdir() if ".tmp." in p.name]
        assert not leftovers, leftovers
        print("killed at", kill_while_applying(binary, scratch, steps[0], deltas, states[11], times))
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
