#!/usr/bin/env bash
# Installs into the build folder; configures, builds and runs examples/consumer against that; and compares what it
# prints with what the installed command line says.   consumer.sh SOURCE_DIR BUILD_DIR CXX
set -euo pipefail
source_dir=$1 build_dir=$2 compiler=$3
prefix=$build_dir/consumer_test/prefix
rm -rf "$build_dir/consumer_test"
cmake --install "$build_dir" --prefix "$prefix" >/dev/null
cmake -S "$source_dir/examples/consumer" -B "$build_dir/consumer_test/build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$build_dir/consumer_test/build"

cd "$source_dir/samples/addition"
first=checkpoints/step_02500 second=finetune/step_001
digest() { "$prefix/bin/liveweight" digest "$1" --quant fp8_per_block | head -n 1 | cut -d ' ' -f 1; }
expected="$(digest $first)  version 1 from $first
$(digest $second)  version 2 from $second"
got=$("$build_dir/consumer_test/build/consumer" $first $second)
diff <(echo "$expected") <(echo "$got")
# A directory that is not there is a refusal, not a crash.
status=0
"$build_dir/consumer_test/build/consumer" $first no/such/directory >/dev/null 2>&1 || status=$?
[ $status -eq 2 ]
