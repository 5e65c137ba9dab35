#!/usr/bin/env bash
# Every package that ./setup installs has its reason in docs/dependencies.md.   dependencies.sh SOURCE_DIR
set -euo pipefail
cd "$1"
status=0
for package in $(sed -n '/^packages=(/,/^)/p' setup | sed '1d;$d'); do
  grep -Eq "^\|.*\b$package\b.*\|" docs/dependencies.md ||
    { echo "docs/dependencies.md: no reason for the package $package of ./setup"; status=1; }
done
exit $status
