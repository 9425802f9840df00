#!/usr/bin/env bash
# Installs the Python package as a user does, with `pip install ./python`, and runs its tests. Needs Rust, Python
# 3.10 or newer with venv, and a network; everything goes into target/.
#
#     scripts/python.sh [ARGUMENTS OF PYTEST]     # built as `cargo build` does, which is quick
#     scripts/python.sh --release [ARGUMENTS]     # built as users have it
#     scripts/python.sh --cost                    # no test: what a call costs beside the entry point of C
#
# CARDINAL names the command that results are compared with; by default it is target/debug/cardinal, which is built
# where it is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=dev cost=
case ${1:-} in
  --release) profile=release; shift ;;
  --cost) profile=release cost=1; shift ;;
  --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

python=$(python3 scripts/common.py numpy onnx onnxruntime pytest)
export CARGO_TARGET_DIR="$PWD/target"
MATURIN_PEP517_ARGS="--profile $profile" "$python" -m pip install --quiet --force-reinstall --no-deps ./python

if [ -n "$cost" ]; then
  cargo build --release --locked -p cardinal-runtime-c
  exec "$python" python/tests/cost.py target/release/libcardinal_runtime.so
fi
export CARDINAL="${CARDINAL:-$PWD/target/debug/cardinal}"
[ -e "$CARDINAL" ] || cargo build --workspace --locked --bin cardinal
"$python" -m pytest --quiet --rootdir python -c python/pyproject.toml -p no:cacheprovider python/tests "$@"
