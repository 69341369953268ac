#!/usr/bin/env bash
# The crates that are built in: licences, sources, and known vulnerabilities by the RustSec database, which
# `cargo audit` reads too. Installs cargo-deny under target/audit, once. Where the database cannot be had it
# says so, and the rest is still checked.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/target/audit
deny=$(command -v cargo-deny || echo "$work/bin/cargo-deny")
if [ ! -x "$deny" ] && ! cargo install --debug --quiet --locked --root "$work" --version 0.20.2 cargo-deny; then
  echo "NOTHING was checked: cargo-deny could not be installed"
  exit 0
fi
config=tests/audit/deny.toml

"$deny" --config "$config" check --hide-inclusion-graph bans licenses sources

databases=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
if timeout 120 "$deny" --config "$config" fetch db >"$work.log" 2>&1; then
  for database in "$databases"/*/; do
    echo "known vulnerabilities: database of $(git -C "$database" log -1 --format=%cs)"
  done
  "$deny" --config "$config" check --disable-fetch advisories
else
  echo "known vulnerabilities were NOT looked for: the RustSec database could not be had ($(grep -om 1 'fatal: .*' "$work.log" || tail -n 1 "$work.log"))"
fi
