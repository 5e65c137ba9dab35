#!/usr/bin/env bash
# Builds and runs the suite under a sanitizer: asan (addresses, leaks and undefined behaviour) or tsan (threads). Further
# arguments go to ctest. Property tests and kills are fewer, as each step takes ten times as long.
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizer=${1:?asan or tsan}
cmake --preset "$sanitizer" >/dev/null
cmake --build --preset "$sanitizer"
export LIVEWEIGHT_TEST_ROUNDS=${LIVEWEIGHT_TEST_ROUNDS:-3} LIVEWEIGHT_TEST_KILLS=${LIVEWEIGHT_TEST_KILLS:-5}
# ThreadSanitizer's map of memory does not fit every random layout.
fixed_layout=()
[ "$sanitizer" = asan ] || ! setarch -R true 2>/dev/null || fixed_layout=(setarch -R)
exec "${fixed_layout[@]}" ctest --preset "$sanitizer" --parallel "$(nproc)" "${@:2}"
