#!/bin/sh
# An example of an exec provider for cellgate-control: it hands out addresses from a list. It starts nothing; whatever
# runs at these addresses has been started by somebody else. providers.md says how such a program is called.
#
#   provider-example.sh [FOLDER] provision|describe|remove     with JSON on standard input
#
# FOLDER (default: provider-cells in the current folder) holds two things:
#   addresses    the list, made by you: an address per line such as 10.0.1.10:8080; lines that begin with # are comments
#   taken/       made here: a file for each address that is handed out, named after it, with the id of its cell
set -eu

folder=provider-cells
if [ $# -eq 2 ]; then
  folder=$1
  shift
fi
verb=${1:-}
taken=$folder/taken

# What goes to standard error is kept with the operation, for the operator to read.
die() {
  echo "$1" >&2
  exit 1
}

# The only field that is needed. The daemon writes JSON without spaces in between, and a cell's id needs no escapes.
# `params` and `labels` could hold a key of that name too; then there is no telling which one is meant.
question=$(cat)
cell=$(printf '%s\n' "$question" | grep -o '"cell":"[A-Za-z0-9][A-Za-z0-9._-]*"' | sed 's/^"cell":"//; s/"$//' || true)
[ -n "$cell" ] || die "there is no cell in the question"
[ "$(printf '%s\n' "$cell" | wc -l)" -eq 1 ] || die "params or labels have a key \"cell\"; give it another name"

mkdir -p "$taken"

# The address of the cell; nothing if it has none.
address_of() {
  for file in "$taken"/*; do
    if [ -f "$file" ] && [ "$(cat "$file")" = "$cell" ]; then
      basename "$file"
      return 0
    fi
  done
}

answer() {
  printf '{"endpoints":[{"address":"%s"}]}\n' "$1"
}

# Takes the first free address of the list. A link is made or not made, in one step: two cells that ask at the same
# moment never get the same address, and a crash leaves no file that is half written.
take_address() {
  [ -f "$folder/addresses" ] || die "$folder/addresses is missing; write an address such as 10.0.1.10:8080 on each line"
  mine=$folder/.taking-$$
  trap 'rm -f "$mine"' EXIT
  printf '%s\n' "$cell" >"$mine"
  while IFS= read -r address; do
    case $address in
      '' | '#'*) continue ;;
      *[!]0-9A-Fa-f.:[]*) die "$folder/addresses: not an address: $address" ;;
    esac
    if ln "$mine" "$taken/$address" 2>/dev/null; then
      echo "$address"
      return 0
    fi
  done <"$folder/addresses"
  die "no address is free for $cell"
}

case $verb in
  provision)
    # Asked twice, it gives the same answer: the cell keeps the address that it has.
    address=$(address_of)
    if [ -z "$address" ]; then
      address=$(take_address)
      echo "$cell gets $address" >&2
    fi
    answer "$address"
    ;;
  describe)
    address=$(address_of)
    [ -n "$address" ] || die "$cell is not known here"
    answer "$address"
    ;;
  remove)
    # A cell that is gone already is as good as removed.
    while address=$(address_of) && [ -n "$address" ]; do
      rm -f "$taken/$address"
      echo "$cell gives $address back" >&2
    done
    ;;
  *)
    echo "usage: $0 [FOLDER] provision|describe|remove" >&2
    exit 2
    ;;
esac
