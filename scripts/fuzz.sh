#!/bin/sh
# Fuzzes what reads bytes, texts and models, and compares what is compiled with the interpreter. Needs the
# stable toolchain and a C++ compiler; libFuzzer comes with a crate.
#
#     scripts/fuzz.sh [TARGET] [--seconds S | --runs N]   # one of fuzz/fuzz_targets, or all of them
#     scripts/fuzz.sh --full                              # as many runs as each target is given below
#     scripts/fuzz.sh [TARGET] --minimize                 # make fuzz/corpus small again with what was found
#
# Each target begins with fuzz/corpus/TARGET and with seeds made for it. What is found on the way goes to
# target/fuzz/TARGET, and what fails to target/fuzz/failed; `target/debug/TARGET FILE` runs it alone, and
# RUST_LIBFUZZER_DEBUG_PATH=OUT in front of that writes it down readably, where it is no file itself.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/target/fuzz
failed=$work/failed

# TARGET LONGEST FULL: the longest input in bytes, and the runs of a full campaign.
table='model_bytes 1024 10000000
model 512 100000
arrays 2048 1000000
images 2048 1000000
artifact 512 100000
ir_text 2048 1000000
plan_text 4096 1000000
differential 256 100000'

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

wanted='' limit=seconds amount=10
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --runs) [ $# -gt 1 ] || usage; limit=${1#--} amount=$2; shift ;;
    --full | --minimize) limit=${1#--} ;;
    -*) usage ;;
    *) wanted=$1 ;;
    esac
    shift
done
[ -z "$wanted" ] || echo "$table" | grep -q "^$wanted " || usage

build() {
    RUSTC_WRAPPER=$root/fuzz/instrument.sh CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$root/target \
        cargo build --manifest-path "$root/fuzz/Cargo.toml" --locked --bins
}

# seeds: what targets begin with besides their corpus.
seeds() {
    rm -rf "$work/seeds"
    "$root/target/debug/seeds" "$work/seeds"
    mkdir -p "$work/seeds/images" "$work/seeds/arrays"
    cp "$root"/cli/tests/images/* "$work/seeds/images"
    cp "$root"/cli/tests/models/*.npy "$work/seeds/arrays"
}

# fuzz TARGET LONGEST FULL: runs one, and says how far it came.
fuzz() {
    target=$1
    case $limit in
    seconds) how=-max_total_time=$amount ;;
    runs) how=-runs=$amount ;;
    full) how=-runs=$3 ;;
    esac
    # Structures are made of as many bytes as there are: short ones are all alike.
    case $target in model | artifact | differential) control=0 ;; *) control=100 ;; esac
    mkdir -p "$work/$target" "$failed" "$work/seeds/$target" "$root/fuzz/corpus/$target"
    log=$work/$target.log
    code=0
    "$root/target/debug/$target" "$how" -max_len="$2" -len_control=$control -timeout=20 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$failed/$target-" \
        "$work/$target" "$root/fuzz/corpus/$target" "$work/seeds/$target" 2>"$log" || code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    corpus=$(find "$root/fuzz/corpus/$target" -type f | wc -l)
    if [ $code = 0 ]; then
        figures="$figures
trust: fuzz $target | $runs executions, 0 crashes, corpus $corpus"
    else
        grep -aE -A 3 'panicked at|ERROR: libFuzzer|SUMMARY' "$log" >&2 || tail -n 20 "$log" >&2
        echo "FAILED: $target after $runs executions: see $log and $failed" >&2
        failures=1
    fi
}

# minimize TARGET LONGEST: the smallest files that reach what all reach, and not too many of them.
minimize() {
    corpus=$root/fuzz/corpus/$1
    rm -rf "$work/merged"
    mkdir -p "$work/merged" "$corpus" "$work/$1" "$work/seeds/$1"
    "$root/target/debug/$1" -merge=1 -max_len="$2" -timeout=20 "$work/merged" "$corpus" "$work/$1" \
        "$work/seeds/$1" 2>"$work/$1.log"
    rm -rf "$corpus"
    mkdir -p "$corpus"
    # Of every size some: 150 files, and 150 kB.
    step=$(($(find "$work/merged" -type f | wc -l) / 150 + 1))
    find "$work/merged" -type f -printf '%s %f\n' | sort -n |
        awk -v step=$step 'NR % step == 0 && (total += $1) < 150000 { print $2 }' |
        while read -r name; do cp "$work/merged/$name" "$corpus"; done
    bytes=$(find "$corpus" -type f -exec cat {} + | wc -c)
    echo "$1: $(find "$corpus" -type f | wc -l) files, $bytes bytes" >&2
}

build
seeds
figures='' failures=0
while read -r target longest full; do
    [ -z "$wanted" ] || [ "$wanted" = "$target" ] || continue
    case $limit in
    minimize) minimize "$target" "$longest" ;;
    *) fuzz "$target" "$longest" "$full" ;;
    esac
done <<END
$table
END
printf '%s\n' "$figures" | sed '/^$/d'
exit $failures
