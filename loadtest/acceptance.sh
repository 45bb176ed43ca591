#!/usr/bin/env bash
# The long versions of the end-to-end tests, against the release build, on a machine that does nothing else. Prints one
# line for each thing that the two planes have to show, with the figures that were measured. What requests go through is
# shown for both of their ways, the direct and the general one.
#
#   loadtest/acceptance.sh            all of it; about an hour after the build
#   loadtest/acceptance.sh mutants    only the lines that contain this word
#
# Set before: CELLGATE_LOAD_SECONDS (30), CELLGATE_MUTANTS (100000), CELLGATE_SEED (1), CELLGATE_FAULT_SECONDS (20),
# CELLGATE_TENANTS (1000000), CELLGATE_CRASHES (100), CELLGATE_KILLS (1000), CELLGATE_POWER_CUTS (30),
# CELLGATE_FUZZ_SECONDS (60), CELLGATE_FUZZ_REQUESTS (1000000).
set -euo pipefail

cd "$(dirname "$0")/.."

export CELLGATE_ACCEPTANCE=1 # limits as promised, and nothing is skipped
export CELLGATE_LOAD_SECONDS=${CELLGATE_LOAD_SECONDS:-30}
export CELLGATE_MUTANTS=${CELLGATE_MUTANTS:-100000}
export CELLGATE_FAULT_SECONDS=${CELLGATE_FAULT_SECONDS:-20}
export CELLGATE_TENANTS=${CELLGATE_TENANTS:-1000000}
export CELLGATE_CRASHES=${CELLGATE_CRASHES:-100}
export CELLGATE_KILLS=${CELLGATE_KILLS:-1000}
export CELLGATE_POWER_CUTS=${CELLGATE_POWER_CUTS:-30}
export CELLGATE_FUZZ_SECONDS=${CELLGATE_FUZZ_SECONDS:-60}
export CELLGATE_SOAK_SECONDS=${CELLGATE_SOAK_SECONDS:-600}
export CELLGATE_FUZZ_REQUESTS=${CELLGATE_FUZZ_REQUESTS:-1000000}

only=${1:-}
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
log=$target/acceptance.log
failed=0

echo "building; the tests' output goes to $log"
: >"$log"
# The programs are those of the release. Of the tests only one that plays a million requests needs some speed.
export CARGO_PROFILE_TEST_OPT_LEVEL=2
cargo fetch --locked --quiet
cargo build --release --workspace --exclude cellgate-benches --bins >>"$log" 2>&1
cargo test -p cellgate-loadtest --test it --no-run >>"$log" 2>&1
export CELLGATE_BIN_DIR=$target/release

# show WHAT TEST...: runs tests, each named by the beginning of its path, and prints what they measured.
show() {
  local what=$1 output status=0
  shift
  case "$what" in *"$only"*) ;; *) return 0 ;; esac
  output=$(cargo test -p cellgate-loadtest --test it -- --test-threads=1 "$@" 2>&1) || status=$?
  printf '\n===== %s\n%s\n' "$what" "$output" >>"$log"
  # A name that fits no test would pass.
  if [ "$status" = 0 ] && ! printf '%s\n' "$output" | grep -q '^test result: ok. [1-9]'; then
    status=1
  fi
  if [ "$status" = 0 ]; then
    echo "fine    $what"
  else
    echo "FAILED  $what"
    failed=1
  fi
  # Tests that run both ways say which one a figure is of.
  printf '%s\n' "$output" | sed -n -e 's/.*FIGURE: [^ ]*::\(direct\|general\): /          \1: /p' -e t \
    -e 's/.*FIGURE: [^ ]*: /          /p'
}

show "explain and live traffic agree; no wrong and no failed answer while the table is rewritten" load::rewriting explain::
show "an edit takes effect in time, whether or not its events come" table::edits table::watch
show "the last good table outlives a crash and a corrupt file" last_good::
show "a bad table or something else in its place is refused, and traffic goes on" table::bad_files table::rules
show "a hung cell is refused at its bulkhead and costs the others nothing" bulkhead::
show "clients and cells that break off or lie leave no leak and no desync" hostile_cells:: \
  hostile_clients::leaving hostile_clients::limits hostile_clients::protocol hostile_clients::refused \
  hostile_clients::streams
show "what passes to cells and clients, and what is tried again" forwarding:: retries::
show "an answer before the request's end: nobody gets a foreign one; 10 MB echo back whole" early_answers::
show "2,000 slow senders of small bodies hold no place of their cell" slow_bodies::
show "0 of 6,000 handshakes closed early; tunnels have their own limit" websockets::
show "1,000,000 keys against one cell leave the other cells' connections alone" kept_connections::
show "interim answers put no client out of step" interim_answers::
show "12 open answers over 12 tables of 200,000 names: memory grows by less than 10 %" memory::
show "1,000 drip-feeding clients are gone in time" hostile_clients::crowd
show "a million requests go both ways, and nobody notices which" differential::
show "the desync corpus: no severe case reaches a cell, few legal ones are refused" desync_corpus::
show "cache tests judge the proxy as they judge its origin" http_cache::
show "1,000 requests a second for 10 minutes, each way: memory flat, no connection half closed, no count left" load::soak
show "nobody notices 100 hand-overs and 100 new certificates; 20 successors that are killed change nothing" \
  handover::mixed handover::steps handover::signals handover::activation
show "0 posts on kept connections fail across 30 hand-overs; what others lose" handover::beside
show "mutants of a table are refused in time, and nobody notices" load::mutants
show "control: a sixth cell under load takes new tenants and nobody else" control::story
show "control: tenants notice nothing of a lost control plane" control::stability
show "control: one daemon per table, and one that slept does not publish" control::locks
show "control: recovery needs nothing of what it recovers" control::recovery
show "control: killed at every step, with a full disk, a failing disk and a power cut" control::crash \
  control::faults control::power
show "control: a million tenants" control::scale
show "control: bad input changes nothing" control::fuzz

exit "$failed"
