#!/usr/bin/env bash
# Every C++ source is formatted as .clang-format says.
set -euo pipefail
cd "$1"
find include src tests bench fuzz examples -name "*.h" -o -name "*.cc" | grep -v "-inl" | xargs -r clang-format-14 --dry-run --Werror
