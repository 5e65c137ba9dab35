#!/usr/bin/env bash
# The rooms that decide what is live, by .clang-tidy. The other rooms would take minutes.   tidy.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
cd "$1"
out=$(run-clang-tidy-14 -quiet -p "$2" -j "$(nproc)" 'src/(live|checkpoint|model)/(?!.*_test\.cc).*\.cc$' 2>/dev/null) || {
  echo "$out"
  exit 1
}
