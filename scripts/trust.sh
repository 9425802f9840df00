#!/usr/bin/env bash
# Runs the long campaigns, of which the tests of every change run small forms, and prints the table of
# their figures for docs/src/trust.md. Parts can be run one by one, over hours or days: what each has said
# is kept in target/trust, and the table is of all that is there.
#
#     scripts/trust.sh                     # every part, in full: many hours
#     scripts/trust.sh --quick             # every part in its small form
#     scripts/trust.sh soak valgrind       # these two
#     scripts/trust.sh --table             # none: the table of what ran before
#     scripts/trust.sh --write …           # the table goes into docs/src/trust.md instead of to stdout
#     scripts/trust.sh --list              # the parts
#
# A part is a command that prints lines `trust: NAME | FIGURE`. The exit code is 0 if all parts that were
# asked for, or all with --table, ran and succeeded.
set -euo pipefail
cd "$(dirname "$0")/.."

results=target/trust
page=docs/src/trust.md

# A row a part: its name, a file without which it is missing, what it shows, its command in full and in small.
parts() {
  cat <<'EOT'
cases|../shared/cases/check.py|Small models on which Cardinal fell short before, but those whose operators are not there: each must give the numbers of ONNX Runtime, or be refused.|scripts/cases.sh target/release/cardinal|scripts/cases.sh target/release/cardinal
nodes|scripts/node_tests.py|ONNX's own tests of operators, in every version that Cardinal reads: right numbers or a refusal, never wrong ones.|scripts/node_tests.py target/release/cardinal --check --light|scripts/node_tests.py target/release/cardinal --check
edges|scripts/edges.py|Operators where numbers end, on every element type, running and folded, against ONNX Runtime.|scripts/edges.py target/release/cardinal --check|scripts/edges.py target/release/cardinal --check
quantized|scripts/quantized.py|Networks that ONNX Runtime's tools quantize in 13 ways, and NNCF, and each operator of quantized values alone, against ONNX Runtime.|scripts/quantized.py target/release/cardinal --check|scripts/quantized.py target/release/cardinal --small --check
functions|compiler/tests/lanes.rs|Functions in vectors on one in 61 of all f32: how far they are from f64, at most.|CARDINAL_STRIDE=61 cargo test --workspace --locked --test lanes numbers_of_all_kinds -- --nocapture|cargo test --workspace --locked --test lanes numbers_of_all_kinds -- --nocapture
fuzz|scripts/fuzz.sh|Random changes of all that is read (models, texts, artifacts, arrays, images): a result or an error, never a crash.|scripts/fuzz.sh --full|scripts/fuzz.sh
mutants|workbench/tests/mutants.rs|Graphs, schedules and plans with one field changed: refused before any code is made, or harmless between guard pages.|CARDINAL_MUTANTS=all cargo test --workspace --locked --test mutants -- --nocapture|cargo test --workspace --locked --test mutants -- --nocapture
valgrind|scripts/valgrind.sh|Compiled models and the runtime under Valgrind: no stray access, nothing decided by what nobody has written.|scripts/valgrind.sh all|scripts/valgrind.sh
soak|workbench/tests/soak/main.rs|Eight sessions in one process for an hour, one call in a hundred wrong: the bits of the first run, and no growth.|CARDINAL_SOAK_SECONDS=3600 cargo test --workspace --locked --test soak -- --nocapture|cargo test --workspace --locked --test soak -- --nocapture
reads|cli/tests/reads.rs|Every read of every command made to fail in turn: an error, or the same result without it, never half of one.|cargo test --workspace --locked --test reads -- --nocapture|cargo test --workspace --locked --test reads -- --nocapture
supply-chain|scripts/supply_chain.sh|What Cardinal is built from: licences, sources, bans, advisories, a list of all of it, and binaries that carry theirs.|scripts/supply_chain.sh|scripts/supply_chain.sh --quick
EOT
}

# field ROW N: the N-th field of a row.
field() { cut -d'|' -f"$2" <<<"$1"; }

row_of() {
  parts | grep "^$1|" || { echo "there is no part '$1'; there are: $(parts | cut -d'|' -f1 | paste -sd,)" >&2; exit 2; }
}

# Where the results of a part are.
file_of() { echo "$results/$1"; }

# figures LOG: the lines with figures, as `figure|NAME|FIGURE`. The cases count themselves in a line of their own.
figures() { sed -n -e 's/^.*trust: \(.*\) | \(.*\)$/figure|\1|\2/p' -e 's/^\([0-9]* of [0-9]*\) cases$/figure|as wanted|\1/p' "$1"; }

# keep PART STATE SECONDS: states what became of a part, and adds the figures of its log.
keep() {
  local file; file=$(file_of "$1")
  {
    echo "state|$2"
    echo "form|$form"
    echo "date|$(date -u +%F)"
    echo "seconds|$3"
    echo "commit|$(git describe --always --dirty 2>/dev/null || echo unknown)"
    figures "$file.log" 2>/dev/null || true
  } >"$file.txt"
}

run_part() {
  local row file start state=passed command
  row=$(row_of "$1"); file=$(file_of "$1")
  command=$(field "$row" "$([ "$form" = quick ] && echo 5 || echo 4)")
  rm -f "$file.log"
  if [ ! -e "$(field "$row" 2)" ]; then
    echo "MISSING: $1: there is no $(field "$row" 2)" >&2
    keep "$1" MISSING 0
    return 1
  fi
  echo "== $1: $command" >&2
  case $command in
    *target/release/cardinal*) cargo build --release --workspace --locked >&2 ;;
  esac
  start=$SECONDS
  bash -c "$command" 2>&1 </dev/null | tee "$file.log" >&2 || state=FAILED
  [ -n "$(figures "$file.log")" ] || { echo "$1 printed no figure" >&2; state=FAILED; }
  keep "$1" "$state" $((SECONDS - start))
  [ "$state" = passed ]
}

# value FILE KEY
value() { sed -n "s/^$2|//p" "$1"; }

# The rows of one part: its state and figures.
table_rows() {
  local file; file=$(file_of "$1").txt
  if [ ! -e "$file" ]; then
    echo "| \`scripts/trust.sh $1\` | | | NOT RUN | |"
    return
  fi
  local form seconds state
  form=$(value "$file" form) seconds=$(value "$file" seconds) state=$(value "$file" state)
  [ "$form" = full ] || form=" --$form"
  echo "| \`scripts/trust.sh${form#full} $1\` | time | $((seconds / 60)) min $((seconds % 60)) s | $state |" \
    "$(value "$file" date), $(value "$file" commit) |"
  # A figure's name begins with its part's, which is in the first column.
  value "$file" figure | while IFS='|' read -r name figure; do echo "| | ${name#"$1"[,:] } | $figure | | |"; done
}

machine() {
  local model; model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  echo "${model:-$(uname -m)}, $(nproc) CPUs, $(awk '/MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo) GiB, Linux $(uname -r | cut -d- -f1)"
}

table() {
  echo "Machine: $(machine). $(rustc --version | cut -d' ' -f1-2)."
  echo
  echo '| alone | figure | value | outcome | run |'
  echo '|---|---|---|---|---|'
  parts | cut -d'|' -f1 | while read -r name; do table_rows "$name"; done
  echo
  echo 'What each part shows:'
  echo
  parts | awk -F'|' '{ print "- **" $1 "**: " $3 }' | wrapped
}

# Items of a list in lines of at most 110 columns.
wrapped() {
  awk '{
    line = $1
    for (i = 2; i <= NF; i++) {
      if (length(line " " $i) > 110) { print line; line = " " }
      line = line " " $i
    }
    print line
  }'
}

# Puts the table between the markers of the page.
write_page() {
  local new; new=$(mktemp)
  {
    sed '/<!-- begin of scripts\/trust.sh -->/q' "$page"
    table
    sed -n '/<!-- end of scripts\/trust.sh -->/,$p' "$page"
  } >"$new"
  cat "$new" >"$page"
  rm "$new"
  echo "written: $page" >&2
}

form=full write=false run=true
selected=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) form=quick ;;
    --write) write=true ;;
    --table) run=false ;;
    --list) parts | awk -F'|' '{ printf "%s: %s\n    %s\n    %s\n", $1, $3, $4, $5 }'; exit ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
    -*) echo "unknown option $1, see --help" >&2; exit 2 ;;
    *) row_of "$1" >/dev/null; selected+=("$1") ;;
  esac
  shift
done
[ ${#selected[@]} -gt 0 ] || mapfile -t selected < <(parts | cut -d'|' -f1)

mkdir -p "$results"
bad=()
if $run; then
  for name in "${selected[@]}"; do
    run_part "$name" || bad+=("$name")
  done
else
  for name in "${selected[@]}"; do
    [ "$(value "$(file_of "$name").txt" state 2>/dev/null)" = passed ] || bad+=("$name")
  done
fi
if $write; then write_page; else table; fi
[ ${#bad[@]} -eq 0 ] || { echo "failed, missing or not run: $(printf '%s, ' "${bad[@]}" | sed 's/, $//')" >&2; exit 1; }
