#!/usr/bin/env bash
# Every C++ source is formatted as .clang-format says.
set -euo pipefail
cd "$1"
git ls-files '*.h' '*.cc' | xargs -r clang-format-14 --dry-run --Werror
