#!/usr/bin/env bash
# Runs an executable in a fresh Debian root, and in a root that holds nothing else. Needs root, apt,
# and a network to a Debian mirror.
#
#   scripts/check_standalone.sh [MIRROR]     # MIRROR: that of apt by default
set -euo pipefail
cd "$(dirname "$0")/.."

command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap
mirror="${1:-$(apt-get indextargets --format '$(SITE)' | head -n 1)}"
suite="$(. /etc/os-release && echo "$VERSION_CODENAME")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cargo build --release --locked -p cardinal-cli
target/release/cardinal compile examples/digits/mnist_resnest.onnx -o "$work/digits"
debootstrap --variant=minbase "$suite" "$work/debian" "$mirror" >"$work/debootstrap.log" ||
  { tail -n 20 "$work/debootstrap.log"; exit 1; }
mkdir "$work/empty"

for root in "$work/debian" "$work/empty"; do
  cp "$work/digits" "$root/digits"
  cp -r examples/digits/images "$root/images"
  in_root() { env -i PATH=/usr/sbin:/usr/bin chroot "$root" /digits "$@"; }
  in_root --info
  in_root --selftest
  in_root --bench --iterations 20
  # The predicted classes of all images, against those stored.
  images="$(grep -v '^#' examples/digits/labels.txt | awk '{print $1}')"
  # shellcheck disable=SC2086 # One argument an image.
  in_root $images --top 1 | awk 'NR % 2 == 0 {print $1}' >"$work/found"
  grep -v '^#' examples/digits/labels.txt | awk '{print $3}' | diff - "$work/found"
  echo "the predictions in $(basename "$root") are as stored"
done
