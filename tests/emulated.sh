#!/usr/bin/env bash
# Runs tests on processors that this machine is not, under qemu:
#
#   tests/emulated.sh arm64   the suite, built for aarch64, where vectors are NEON's; further arguments go to ctest. Then the
#                             README's commands, so that digests and answers are those of x86.
#   tests/emulated.sh x86     what depends on instruction sets, on x86 with no more than AVX2, SSE4, SSSE3 or SSE2
#
# Property tests and kills are fewer, as each step takes twenty times as long.
set -euo pipefail
cd "$(dirname "$0")/.."
export LIVEWEIGHT_TEST_ROUNDS=${LIVEWEIGHT_TEST_ROUNDS:-1} LIVEWEIGHT_TEST_KILLS=${LIVEWEIGHT_TEST_KILLS:-3}

# The libraries of ./setup for arm64 and all that they need, in a folder of their own: packages of two architectures would
# get into each other's way.
unpack_libraries() {
  local apt=$PWD/build/arm64/apt
  mkdir -p "$apt"/{lists,archives}/partial
  : > "$apt/status"
  local get=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt"
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt")
  "${get[@]}" update
  grep -oE '\b(lib[a-z0-9]+|nlohmann-json3|zlib1g)-dev\b' setup |
    xargs "${get[@]}" install -y --no-install-recommends --download-only >/dev/null
  for package in "$apt"/archives/*.deb; do dpkg -x "$package" "$1.part"; done
  mv "$1.part" "$1"
}

run_arm64() {
  ./setup g++-aarch64-linux-gnu qemu-user
  local sysroot=build/arm64/sysroot emulated=$PWD/build/arm64/emulated
  [ -d "$sysroot" ] || unpack_libraries "$sysroot"
  cmake --preset arm64 >/dev/null
  cmake --build --preset arm64
  mkdir -p "$emulated"
  printf '#!/bin/sh\nexec qemu-aarch64 -L "%s" "%s" "$@"\n' "$PWD/$sysroot" "$PWD/build/arm64/bin/liveweight" \
    > "$emulated/liveweight"
  chmod +x "$emulated/liveweight"
  ctest --preset arm64 --parallel "$(nproc)" "$@"
  python3 tests/readme_test.py "$PWD" "$emulated"
}

run_x86() {
  ./setup qemu-user
  cmake --preset release >/dev/null
  cmake --build --preset release --target lw_quantize_test lw_infer_test lw_checkpoint_test
  for processor in max Westmere Penryn qemu64; do
    for room in quantize infer checkpoint; do
      echo "$processor, $room"
      qemu-x86_64 -cpu "$processor" "build/release/bin/lw_${room}_test" --gtest_brief=1 --gtest_filter="-*.what_runs_beside_*"
    done
  done
}

"run_${1:?arm64 or x86}" "${@:2}"
