#!/bin/sh
# Stands before rustc (as RUSTC_WRAPPER) and has it count which branches of Cardinal and of the readers of
# images and archives run, and what they compare: libFuzzer finds its way by that. All else stays fast.
counted='cardinal_runtime|cardinal_compiler|cardinal_cli|image|libjpeg_turbo_rs|png|zip'
name=$(printf '%s\n' "$@" | grep -xA1 -e --crate-name | tail -n 1)
if printf '%s' "$name" | grep -qxE "$counted"; then
    coverage=-Cllvm-args=-sanitizer-coverage
    set -- "$@" -Cpasses=sancov-module "$coverage-level=4" "$coverage-inline-8bit-counters" \
        "$coverage-pc-table" "$coverage-trace-compares" -Ccodegen-units=1
fi
exec "$@"
