#!/usr/bin/env bash
# Builds the wheel of the Python package on the library that is built already, installs it in a fresh virtual
# environment, and runs its tests there.   python_package.sh SOURCE_DIR BUILD_DIR CXX
# LIVEWEIGHT_TEST_PACKAGES: folders of Python packages (torch, torchao, ...), separated by colons, for tests that want them.
set -euo pipefail
source_dir=$1 build_dir=$2 compiler=$3
work=$build_dir/python_test
rm -rf "$work/venv" "$work/wheel" "$work/prefix"
mkdir -p "$work"
cmake --install "$build_dir" --prefix "$work/prefix" >/dev/null
python3 -m venv "$work/venv"
python=$work/venv/bin/python
# The only thing that a test takes from the network: what builds the wheel (docs/dependencies.md).
if ! "$python" -m pip install --quiet --disable-pip-version-check --target "$work/tools" --upgrade \
  'scikit-build-core>=0.11' 'nanobind>=2.9' 2>"$work/pip.log" && [ ! -d "$work/tools/nanobind" ]; then
  cat "$work/pip.log"
  echo "skipped: pip cannot get scikit-build-core and nanobind, which build the wheel"
  exit 77
fi
PYTHONPATH=$work/tools PATH=$work/tools/bin:$PATH CXX=$compiler "$python" -m pip wheel --quiet --disable-pip-version-check \
  --no-build-isolation --no-deps --wheel-dir "$work/wheel" \
  --config-settings=build-dir="$work/build" --config-settings=cmake.define.LIVEWEIGHT_PREFIX="$work/prefix" "$source_dir"
"$python" -m pip install --quiet --disable-pip-version-check --no-index "$work"/wheel/liveweight-*.whl
if [ -n "${LIVEWEIGHT_TEST_PACKAGES:-}" ]; then
  tr ':' '\n' <<<"$LIVEWEIGHT_TEST_PACKAGES" >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/test_packages.pth"
fi
cd "$source_dir/python/tests"
PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest -v
