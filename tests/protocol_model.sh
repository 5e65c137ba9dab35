#!/usr/bin/env bash
# The model of the readers' and the writer's protocol holds, and each mistake in it is found.   protocol_model.sh SOURCE_DIR
set -euo pipefail
model=$(realpath "$1/src/live/versions.pml")
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

# errors DEFINES SEARCH_FLAGS COMPILER_FLAGS: how many spin finds; fails where it did not search everything.
errors() {
  spin $1 -a "$model" >/dev/null
  cc -O2 -w $3 -o pan pan.c
  ./pan $2 >report
  if grep -q 'max search depth too small\|Search not completed' report && grep -q 'errors: 0' report; then
    cat report >&2
    return 1
  fi
  sed -n 's/.*errors: \([0-9]*\).*/\1/p' report
}

failed=0
expect() {  # WHAT WANTED GOT
  [ "$2" = "$3" ] && return
  echo "$1: expected $2 errors, got $3"
  failed=1
}
expect "nobody reads what is being written" 0 "$(errors '' '-m1000000' -DSAFETY)"
expect "somebody always gets on" 0 "$(errors '' '-m1000000 -l -f' -DNP)"
for mistake in SKIP_RECHECK EARLY_FLIP NO_WAIT UNCOUNTED_GATE; do
  expect "$mistake" 1 "$(errors "-D$mistake" '-m1000000' -DSAFETY)"
done
exit $failed
