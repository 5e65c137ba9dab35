#!/usr/bin/env bash
# Every public header compiles alone, without a warning.   headers_alone.sh SOURCE_DIR CXX
set -euo pipefail
cd "$1/include"
printf '%s\n' liveweight/*.h |
  xargs -P 2 -I {} "$2" -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I . -include {} -x c++ /dev/null
