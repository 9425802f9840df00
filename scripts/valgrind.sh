#!/usr/bin/env bash
# Runs small models under valgrind's memcheck: no stray access, and nothing decided by memory
# that nobody has written. Code is for x86-64-v3, as valgrind knows no AVX-512.
# Needs valgrind (Debian: `apt-get install valgrind`).
#
#   scripts/valgrind.sh [COUNT]      # COUNT models: 20 by default, `all` for every one
#
# CARDINAL names a command that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 2; }
count="${1:-20}"
if [ -z "${CARDINAL:-}" ]; then
  cargo build --release --locked --workspace
  CARDINAL=target/release/cardinal
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Digits, whole networks, and blocks with every spelling of attention, grouped and dilated ones too.
mapfile -t models < <(ls examples/digits/*.onnx compiler/tests/fixtures/tiny/*.onnx \
  compiler/tests/fixtures/branches/*.onnx)
[ "$count" = all ] || models=("${models[@]:0:count}")

# Artifacts in the command rather than executables: in those the C library is linked statically, where
# memcheck does not see its allocator and calls what it does an error.
# What the arena holds at first is zeros of the system's to memcheck; `workbench/tests/guarded.rs` fills it
# with NaNs instead.
errors=0
for i in "${!models[@]}"; do
  model="${models[$i]}"
  # Every third by definitions only.
  options=()
  (( i % 3 == 2 )) && options=(--no-winograd)
  "$CARDINAL" compile "$model" --cpu x86-64-v3 --emit artifact -o "$work/model.cardinal" \
    "${options[@]}" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  if ! valgrind --quiet --error-exitcode=99 --track-origins=yes --expensive-definedness-checks=yes \
    "$CARDINAL" bench "$work/model.cardinal" --warmup 0 --iterations 1 --threads 2 >"$work/log" 2>&1; then
    errors=$((errors + 1))
    echo "$model ${options[*]}"
    head -n 40 "$work/log"
  fi
done
echo "trust: valgrind | ${#models[@]} models on x86-64-v3, $errors with errors"
[ "$errors" = 0 ]
