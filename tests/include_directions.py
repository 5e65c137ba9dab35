#!/usr/bin/env python3
"""Each room includes only rooms listed above it, and public headers include only public headers and tl::expected.

    include_directions.py PROJECT_DIR"""
import re
import sys
from pathlib import Path

ROOMS = ["base", "tensor", "quantize", "checkpoint", "model", "live", "infer", "text", "serve", "plot", "bench", "cli", "fuzz"]
FORBIDDEN = {"quantize": {"checkpoint", "model"}}
PUBLIC_STANDARD = re.compile(r"^[a-z0-9_]+$")
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^">]+)[">]', re.M)

# Which room implements each public header.
OWNERS = {
    "error": "base", "version": "base", "dtype": "tensor", "tensor": "tensor", "scheme": "quantize",
    "quantization_config": "quantize", "checkpoint": "checkpoint", "delta": "checkpoint", "mirror": "checkpoint",
    "model": "model", "plan": "live", "live_model": "live", "update": "live", "digest": "live", "quantization_error": "live", "load": "live", "export": "live",
    "engine": "infer", "tokenizer": "text",
}


def room_of(include):
    first, _, rest = include.partition("/")
    if first == "liveweight":
        return OWNERS.get(rest.removesuffix(".h"), f"unknown public header {include}")
    return first if first in ROOMS else None


def problems_of_source(path, room):
    for _, include in INCLUDE.findall(path.read_text()):
        other = room_of(include)
        if other is None:
            continue
        if other not in ROOMS:
            yield f"{path}: {other}"
        elif ROOMS.index(other) > ROOMS.index(room) or other in FORBIDDEN.get(room, ()):
            yield f"{path}: room {room} may not include {include} (room {other})"
        elif room == "infer" and include == "liveweight/update.h":
            yield f"{path}: infer never sees an update"


def problems_of_public(path):
    for kind, include in INCLUDE.findall(path.read_text()):
        fine = include == "tl/expected.hpp" or (kind == '"' and include.startswith("liveweight/")) or (
            kind == "<" and PUBLIC_STANDARD.match(include))
        if not fine:
            yield f"{path}: a public header may not include {include}"


def main():
    root = Path(sys.argv[1])
    problems = [p for f in sorted((root / "include").rglob("*.h")) for p in problems_of_public(f)]
    for room in ROOMS:
        folder = root / room if room in ("bench", "fuzz") else root / "src" / room
        for path in sorted(folder.glob("**/*")):
            if path.suffix in {".h", ".cc", ".cu"}:
                problems += problems_of_source(path, room)
    print("\n".join(problems) or "every include points up")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
