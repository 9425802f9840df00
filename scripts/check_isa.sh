#!/bin/sh
# Runs an artifact for several CPUs on emulated ones: the right variant must be chosen, results must be
# the stored ones, and a CPU below the lowest must be told so, with exit code 3 and no illegal
# instruction. Weights in half precision must be the same with and without instructions for them.
# Installs qemu-user with apt where it is missing.
#
#     scripts/check_isa.sh [CARDINAL]      # the command; built in target/debug by default
#
# qemu-user emulates up to AVX2. The AVX-512 variant is in the artifact, and no CPU here may pick it.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
models=$root/compiler/tests/fixtures/tiny
name=resnest_r2k1_avdlast

if ! command -v qemu-x86_64 >/dev/null; then
    echo "installing qemu-user" >&2
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get install -y qemu-user >&2
fi
if [ $# -gt 0 ]; then
    cardinal=$1
else
    cargo build --manifest-path "$root/Cargo.toml" -p cardinal-cli
    cardinal=$root/target/debug/cardinal
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# on CPU ARGUMENTS…: cardinal on an emulated CPU; what qemu itself cannot emulate is no news.
on() {
    cpu=$1
    shift
    qemu-x86_64 -cpu "$cpu" "$cardinal" "$@"
}

model=$models/$name.ts17_dynbatch.onnx
batch=$(head -c 128 "$models/$name.in.npy" | grep -ao "'shape': ([0-9]*" | grep -o '[0-9]*$')
"$cardinal" compile "$model" --batch "$batch" --cpu x86-64,x86-64-v3,x86-64-v4 -o "$work/all.cardinal"
"$cardinal" compile "$model" --batch "$batch" --cpu x86-64-v3 -o "$work/v3.cardinal"

check='--rtol 1e-4 --atol 0 --threads 2'
verify() { # CPU ARTIFACT
    # shellcheck disable=SC2086
    on "$1" verify "$work/$2" --input "$models/$name.in.npy" --expected "$models/$name.out.npy" \
        $check 2>"$work/stderr" || { cat "$work/stderr" >&2; fail "$2 on $1"; }
}

for pair in Nehalem:x86-64 SandyBridge:x86-64 Haswell:x86-64-v3 max:x86-64-v3; do
    cpu=${pair%%:*}
    expected=${pair#*:}
    chosen=$(on "$cpu" inspect "$work/all.cardinal" 2>/dev/null | sed -n 's/^runs here *//p')
    [ "$chosen" = "$expected" ] || fail "$cpu runs $chosen instead of $expected"
    printf '%-12s runs %-10s ' "$cpu" "$chosen"
    verify "$cpu" all.cardinal
done

# Nehalem has no instruction for halves, and this machine's CPU does: both must round and load alike.
halves() { # NAME COMMAND…: compiles and runs with that
    out=$work/$1
    shift
    "$@" compile "$model" --batch "$batch" --cpu x86-64 --weights f16 -o "$out.cardinal" 2>/dev/null
    "$@" run "$out.cardinal" --input "$models/$name.in.npy" --output "$out.npy"
}
halves here "$cardinal"
halves there on Nehalem
for kind in cardinal npy; do
    cmp "$work/here.$kind" "$work/there.$kind" || fail "halves on Nehalem"
done
printf '%-12s has the halves of this machine\n' Nehalem

refused() { # CPU WHAT ARGUMENTS…
    cpu=$1
    what=$2
    shift 2
    code=0
    on "$cpu" "$@" >/dev/null 2>"$work/stderr" || code=$?
    [ "$code" = 3 ] || { cat "$work/stderr" >&2; fail "$what on $cpu: exit code $code instead of 3"; }
    grep -q avx2 "$work/stderr" || { cat "$work/stderr" >&2; fail "$what on $cpu: avx2 is not named"; }
    printf '%-12s refuses %s: %s\n' "$cpu" "$what" "$(grep -o 'this CPU lacks.*' "$work/stderr")"
}

refused Nehalem "an artifact for x86-64-v3" bench "$work/v3.cardinal" --iterations 1
refused Nehalem "--isa x86-64-v3" bench "$work/all.cardinal" --iterations 1 --isa x86-64-v3
echo "all as expected"
