#!/usr/bin/env bash
# Runs compiled models on machines that this one is not, in QEMU's user mode.
#
#     scripts/check_cross.sh
#
# aarch64: every operator, small network and block of the tests, some random graphs, and the examples
# in C and C++ on the hundred stored digits. x86-64: that the query for CPU features says no where some are missing.
# Needs Debian or Ubuntu on x86-64, and installs with apt what is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { command -v "$1" > /dev/null || missing+=("$2"); }
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
need qemu-aarch64 qemu-user
need pngtopnm netpbm
if [ ${#missing[@]} -gt 0 ]; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --locked -p cardinal-cli
cardinal=$(realpath "$target/debug/cardinal")

echo "aarch64: examples"
make -s -C examples/c CARDINAL="$cardinal" BUILD="$work/aarch64" LDFLAGS=-static \
  FLAGS="--target aarch64-unknown-linux-gnu" \
  CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++
while read -r file _ predicted; do
  image="$work/$(basename "$file" .png).pgm"
  pngtopnm "examples/digits/$file" > "$image"
  echo "$image $predicted" >> "$work/expected"
done < <(grep -v '^#' examples/digits/labels.txt)
cut -d' ' -f1 "$work/expected" | xargs qemu-aarch64 "$work/aarch64/digits" > "$work/found"
diff "$work/expected" "$work/found"
echo "  $(wc -l < "$work/found") of 100 classes are as stored"
qemu-aarch64 "$work/aarch64/threads" 1 > "$work/one"
for threads in 2 3; do
  qemu-aarch64 "$work/aarch64/threads" $threads | diff "$work/one" -
done
echo "  logits are the same on 1, 2 and 3 threads"

echo "x86-64: features"
supports() { # CPU of the code, CPU of the machine, expected
  make -s -C examples/c CARDINAL="$cardinal" BUILD="$work/$1" FLAGS="--cpu $1" "$work/$1/digits" \
    > /dev/null
  said=runs
  qemu-x86_64 -cpu "$2" "$work/$1/digits" > /dev/null 2> "$work/errors" || said=$(cat "$work/errors")
  case $said in
    "$3"*) echo "  code for $1 on $2: $said" ;;
    *) echo "  code for $1 on $2: $said, and not $3" >&2; exit 1 ;;
  esac
}
supports x86-64 qemu64 runs
supports x86-64-v2 qemu64 "digits: this CPU lacks"
supports x86-64-v2 Nehalem runs
supports x86-64-v3 Nehalem "digits: this CPU lacks"
supports x86-64-v3 max runs
supports x86-64-v4 max "digits: this CPU lacks"

echo "aarch64: operators, random graphs, networks and blocks"
CARDINAL_CROSS=aarch64 cargo test --locked -p cardinal-compiler --test compiled
CARDINAL_CROSS=aarch64 PROPTEST_CASES=50 cargo test --locked -p cardinal-compiler --test properties
CARDINAL_CROSS=aarch64 cargo test --locked -p cardinal-compiler --test fixtures -- tiny blocks
CARDINAL_CROSS=aarch64 cargo test --locked -p cardinal-compiler --test portable_bits -- networks
