#!/usr/bin/env bash
# Runs tests on processors that this machine is not, under qemu:
#
#   tests/emulated.sh arm64   the suite, built for aarch64, where vectors are NEON's, with the command line's tests and the
#                             README's, so that digests and answers are those of x86; further arguments go to ctest
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
  local sysroot=build/arm64/sysroot
  [ -d "$sysroot" ] || unpack_libraries "$sysroot"
  cmake --preset arm64 >/dev/null
  cmake --build --preset arm64
  # The preset leaves out what qemu cannot show; docs/reliability.md has each with its reason.
  ctest --preset arm64 --parallel "$(nproc)" "$@"
}

run_x86() {
  ./setup qemu-user
  cmake --preset release >/dev/null
  cmake --build --preset release --target lw_quantize_test lw_infer_test lw_checkpoint_test
  # Not reloads in a loop beside requests: they show threads, not instructions, and are a third of all the time.
  for processor in max Westmere Penryn qemu64; do
    for room in quantize infer checkpoint; do
      echo "$processor, $room"
      qemu-x86_64 -cpu "$processor" "build/release/bin/lw_${room}_test" --gtest_brief=1 --gtest_filter="-*.what_runs_beside_*"
    done
  done
}

"run_${1:?arm64 or x86}" "${@:2}"
