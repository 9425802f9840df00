#!/usr/bin/env bash
# Draws the pictures of the book anew: scripts/pictures.sh BIN, a build of cardinal. cli/tests/page.rs checks that they
# are what is drawn.
set -euo pipefail
binary="$(realpath "$1")"
cd "$(dirname "$0")/.."
"$binary" inspect compiler/tests/fixtures/tiny/resnest_r2k2_avdfirst.dyn.onnx \
  --format svg --node split_attention > docs/src/split_attention.svg
