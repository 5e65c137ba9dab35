#!/usr/bin/env bash
# Every fuzzer for its share of a minute.   fuzz.sh SOURCE_DIR
# LIVEWEIGHT_TEST_FUZZ_SECONDS: how long all of them run together.
set -euo pipefail
exec "$1/fuzz/run" "${LIVEWEIGHT_TEST_FUZZ_SECONDS:-60}"
