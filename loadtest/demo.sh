#!/usr/bin/env bash
# The demo: builds cellgate, starts the control daemon and the proxy with copies of the example files of conf/, has the
# daemon make three cells, registers tenants, adds a fourth cell, kills the daemon, and stays until Ctrl-C. `make demo`
# runs it.
#
#   ONCE=1           end after that: exit code 0 if all went as it should, else 1
#   PORT_OFFSET=N    add N to each port (8080, 9600, 9700, and 9001 to 9099 for the cells)
#
# It starts afresh each time, in the folder `demo` of cargo's target folder. Runs on bash 3.2 without GNU tools.
set -euo pipefail

cd "$(dirname "$0")/.."

ONCE=${ONCE:-0}
PORT_OFFSET=${PORT_OFFSET:-0}
PROXY_PORT=$((8080 + PORT_OFFSET))
ADMIN_PORT=$((9600 + PORT_OFFSET))
API_PORT=$((9700 + PORT_OFFSET))
CELL_PORT_FIRST=$((9001 + PORT_OFFSET))
CELL_PORT_LAST=$((9099 + PORT_OFFSET))
READY_SECONDS_MAX=20
STOP_SECONDS_MAX=15

if [ -t 1 ]; then
  BOLD=$(printf '\033[1m') PLAIN=$(printf '\033[0m')
else
  BOLD='' PLAIN=''
fi

heading() {
  printf '\n%s%s%s\n' "$BOLD" "$1" "$PLAIN"
}

die() {
  printf '\ndemo: %s\n' "$1"
  exit 1
}

WRONG=0
wrong() {
  WRONG=$((WRONG + 1))
  printf '  WRONG: %s\n' "$1"
}

# --- ports -----------------------------------------------------------------------------------------------------------

port_is_taken() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

check_ports() {
  local port taken=''
  for port in "$PROXY_PORT" "$ADMIN_PORT" "$API_PORT"; do
    if port_is_taken "$port"; then
      taken="$taken $port"
    fi
  done
  [ -n "$taken" ] || return 0
  echo "demo: another program listens on these ports of 127.0.0.1:$taken"
  if command -v lsof >/dev/null 2>&1; then
    for port in $taken; do
      lsof -nP -iTCP:"$port" -sTCP:LISTEN 2>/dev/null | awk -v p="$port" 'NR > 1 { print "    " p ": " $1 ", process " $2 }'
    done
  fi
  echo "End it (another demo, perhaps), or use other ports: make demo PORT_OFFSET=10000"
  exit 1
}

# --- build -----------------------------------------------------------------------------------------------------------

build() {
  command -v cargo >/dev/null 2>&1 || die "cargo is not there; install Rust first: https://rustup.rs"
  loadtest/setup-tools.sh build
  TARGET=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  case "$TARGET" in
    "$PWD"/*) TARGET=${TARGET#"$PWD"/} ;;
  esac
  BIN=$TARGET/debug
  DEMO=$TARGET/demo
  if [ "$PORT_OFFSET" != 0 ]; then
    DEMO=$DEMO-$PORT_OFFSET # two demos at once need two folders
  fi
  heading "Building"
  if [ ! -x "$BIN/cellgate-proxy" ]; then
    echo "The first time this takes some minutes; after that, seconds."
  fi
  # The dev profile, which the tests use too: the release profile links everything at once and takes several times as
  # long, and nothing here measures speed.
  # shellcheck disable=SC2086
  cargo build ${LOCKED:-} --workspace ${TARGETS:---bins}
}

# --- processes -------------------------------------------------------------------------------------------------------

DAEMON_PID=''
PROXY_PID=''

# Ends one process. Fails if it does not end in good order.
stop_one() {
  local pid=$1 status=0 left=$((STOP_SECONDS_MAX * 10))
  kill -TERM "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep 0.1
  done
  if [ "$left" = 0 ]; then
    kill -KILL "$pid" 2>/dev/null || true
  fi
  wait "$pid" 2>/dev/null || status=$?
  return "$status"
}

# Ends what was started. The cells are processes of their own, which outlive the daemon that started them: its record of
# each tells which process it is.
stop_all() {
  local pid record failed=0
  for pid in $PROXY_PID $DAEMON_PID; do
    if ! stop_one "$pid"; then
      failed=1
      [ "$ONCE" = 0 ] || wrong "process $pid did not end in good order"
    fi
  done
  PROXY_PID='' DAEMON_PID=''
  for record in "$DEMO"/control-state/cells/*/process.json; do
    [ -e "$record" ] || continue
    pid=$(sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' "$record")
    if [ -n "$pid" ]; then
      kill -TERM "$pid" 2>/dev/null || true
    fi
  done
  return "$failed"
}

# A copy of an example file, with the demo's ports and programs.
copy_example() {
  sed -e "s/127\.0\.0\.1:8080/127.0.0.1:$PROXY_PORT/" -e "s/127\.0\.0\.1:9600/127.0.0.1:$ADMIN_PORT/" \
    -e "s/127\.0\.0\.1:9700/127.0.0.1:$API_PORT/" -e "s/\"9001-9099\"/\"$CELL_PORT_FIRST-$CELL_PORT_LAST\"/" \
    -e "s|\.\./target/debug/demo-cell|$BIN_ABSOLUTE/demo-cell|" -e 's/control-table\.yaml/table.yaml/' \
    "conf/$1.yaml" >"$DEMO/$1.yaml"
  cp "conf/$1.schema.json" "$DEMO/"
}

start_daemon() {
  "$BIN/cellgate-control" --config "$DEMO/control.yaml" >>"$DEMO/control.log" 2>&1 &
  DAEMON_PID=$!
}

start_all() {
  rm -rf "$DEMO"
  mkdir -p "$DEMO"
  BIN_ABSOLUTE=$(cd "$BIN" && pwd)
  copy_example proxy
  copy_example control
  heading "A control daemon and a proxy"
  start_daemon
  "$BIN/cellgate-proxy" --config "$DEMO/proxy.yaml" >"$DEMO/proxy.log" 2>&1 &
  PROXY_PID=$!
  printf '  daemon   API on 127.0.0.1:%s   process %s\n' "$API_PORT" "$DAEMON_PID"
  printf '  proxy    127.0.0.1:%s          process %s, admin on 127.0.0.1:%s\n' "$PROXY_PORT" "$PROXY_PID" "$ADMIN_PORT"
  printf '  table    %s   (written by the daemon, read by the proxy; all they share)\n' "$DEMO/table.yaml"
}

not_ready() {
  local log
  echo "demo: $1"
  for log in "$DEMO"/*.log "$DEMO"/control-state/cells/*/log; do
    [ -e "$log" ] || continue
    echo "--- the end of $log"
    tail -n 10 "$log"
  done
  exit 1
}

# Waits until a path of a port answers 200.
wait_for() {
  local port=$1 path=$2 started=$SECONDS pid
  while :; do
    for pid in $DAEMON_PID $PROXY_PID; do
      kill -0 "$pid" 2>/dev/null || not_ready "process $pid has ended"
    done
    get "$port" "$path"
    [ "$STATUS" != 200 ] || return 0
    [ $((SECONDS - started)) -lt "$READY_SECONDS_MAX" ] || not_ready "no 200 from 127.0.0.1:$port$path in time"
    sleep 0.1
  done
}

ctl() {
  "$BIN/cellctl" --server "http://127.0.0.1:$API_PORT" --token-file "$DEMO/control-state/token" "$@"
}

# Shows a command and runs it.
run_ctl() {
  printf '  $ cellctl %s\n' "$*"
  ctl "$@" 2>&1 | sed 's/^/    /' || wrong "cellctl $* failed"
}

# --- requests --------------------------------------------------------------------------------------------------------

# Sends a GET with at most one header of its own; sets STATUS, HEAD and BODY. STATUS is 000 if there was no answer.
# curl need not be there on a new machine, so bash itself is the fallback.
get() {
  local port=$1 path=$2 header=${3:-} answer=''
  if command -v curl >/dev/null 2>&1; then
    answer=$(curl --noproxy '*' -sS -i --max-time 5 ${header:+-H "$header"} "http://127.0.0.1:$port$path" 2>/dev/null) || true
  else
    answer=$(get_without_curl "$port" "$path" "$header" 2>/dev/null) || true
  fi
  answer=${answer//$'\r'/}
  HEAD=${answer%%$'\n\n'*}
  BODY=${answer#*$'\n\n'}
  STATUS=$(printf '%s\n' "$HEAD" | sed -n '1s/^HTTP\/1\.[01] \([0-9][0-9][0-9]\).*/\1/p')
  STATUS=${STATUS:-000}
}

get_without_curl() {
  local port=$1 path=$2 header=$3 host="Host: 127.0.0.1:$1" answer=''
  case "$header" in
    Host:*) host=$header header='' ;;
  esac
  {
    printf 'GET %s HTTP/1.1\r\n%s\r\n' "$path" "$host"
    if [ -n "$header" ]; then
      printf '%s\r\n' "$header"
    fi
    printf 'Connection: close\r\n\r\n'
    IFS= read -r -d '' -t 5 answer || true
  } <>"/dev/tcp/127.0.0.1/$port" >&0
  printf '%s' "$answer"
}

# The value of a header of the last answer.
header_value() {
  printf '%s\n' "$HEAD" | tr '[:upper:]' '[:lower:]' | sed -n "s/^$1: *//p"
}

# A field of the last answer's JSON, which has one field a line.
field() {
  printf '%s\n' "$BODY" | sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p"
}

row() {
  printf '  %-30s %-14s %s\n' "$1" "$2" "$3"
}

# The cell that the daemon has for a tenant.
cell_of() {
  ctl -o json tenant show "$1" | sed -n 's/^ *"cell": *"\([^"]*\)".*/\1/p'
}

# Sends a request of a tenant and asks the proxy why it went where it went. Proxy and daemon must agree.
show_tenant() {
  local key=$1 header=$2 cell why
  get "$PROXY_PORT" / "$header"
  cell=$(header_value x-cell)
  if [ "$STATUS" != 200 ] || [ -z "$cell" ]; then
    row "$header" "$STATUS" "$(header_value x-cellgate-reason)"
    wrong "a cell should have answered with 200"
    return
  fi
  get "$ADMIN_PORT" "/explain?tenant=$key"
  case "$(field owner) $(field is_alias)" in
    "slot false") why="owns slot $(field slot), which is the slot of $key" ;;
    "override false") why="$key was placed here, away from its slot" ;;
    "slot true") why="$key is an alias of $(field tenant), whose slot it owns" ;;
    "override true") why="$key is an alias of $(field tenant), which was placed here" ;;
    *) why="owner $(field owner), alias $(field is_alias)" ;;
  esac
  row "$header" "$cell" "$why"
  [ "$cell" = "$(field cell)" ] || wrong "/explain says $(field cell)"
}

show_refused() {
  local header=$1 status=$2 reason=$3 why=$4
  get "$PROXY_PORT" / "$header"
  row "${header:-(no tenant)}" "$STATUS" "$(header_value x-cellgate-reason): $why"
  [ "$STATUS $(header_value x-cellgate-reason)" = "$status $reason" ] || wrong "$status $reason was expected"
}

# --- the story -------------------------------------------------------------------------------------------------------

make_cells() {
  local id
  heading "Three cells, made by the daemon"
  for id in eu-1 eu-2 eu-3; do
    run_ctl cell add "$id" --provider local --health-path /healthz --label zone=demo
  done
  # The daemon spreads the slots over the cells once none of them has changed for a while.
  wait_for "$ADMIN_PORT" /readyz
  run_ctl --wait slots
}

register_tenants() {
  heading "Tenants"
  run_ctl tenant add acme --alias www.acme.example --wait
  run_ctl tenant add globex
  run_ctl tenant add initech
  run_ctl tenant add evil-corp --rejected --wait
}

show_requests() {
  heading "Requests to http://127.0.0.1:$PROXY_PORT/"
  row "REQUEST WITH" "ANSWERED BY" "WHY"
  show_tenant acme "x-tenant-id: acme"
  show_tenant globex "x-tenant-id: globex"
  show_tenant initech "Host: initech.example.com"
  show_tenant www.acme.example "x-tenant-id: www.acme.example"
  show_tenant hooli "x-tenant-id: hooli"
  show_refused "x-tenant-id: evil-corp" 403 rejected "turned away with cellctl"
  show_refused "" 400 no_tenant_key "no rule of proxy.yaml finds one"
}

# Where each known tenant is answered, in one line.
homes() {
  local tenant
  for tenant in acme globex initech hooli; do
    get "$PROXY_PORT" / "x-tenant-id: $tenant"
    printf '%s:%s ' "$tenant" "$(header_value x-cell)"
  done
}

add_fourth_cell() {
  local before after cell
  heading "A fourth cell: nobody moves by itself"
  before=$(homes)
  run_ctl cell add eu-4 --provider local --health-path /healthz --wait
  run_ctl table diff
  after=$(homes)
  printf '  before: %s\n  after:  %s\n' "$before" "$after"
  [ "$before" = "$after" ] || wrong "somebody moved"
  run_ctl tenant add umbrella --wait
  cell=$(cell_of umbrella)
  [ "$cell" = eu-4 ] || wrong "umbrella lives in $cell; the empty cell eu-4 was expected"
  show_tenant umbrella "x-tenant-id: umbrella"
}

kill_daemon() {
  local before after
  heading "The daemon is killed: tenants notice nothing"
  before=$(homes)
  kill -KILL "$DAEMON_PID"
  wait "$DAEMON_PID" 2>/dev/null || true
  after=$(homes)
  printf '  with the daemon:    %s\n  without the daemon: %s\n' "$before" "$after"
  [ "$before" = "$after" ] || wrong "somebody noticed"
  echo "  The daemon is started again, and goes on from its database:"
  start_daemon
  wait_for "$API_PORT" /readyz
  run_ctl status
}

show_what_next() {
  heading "Try next, in another terminal, in $PWD"
  if ! command -v curl >/dev/null 2>&1; then
    echo "(some of these use curl, which is not installed here)"
  fi
  cat <<END
  export CELLCTL_SERVER=http://127.0.0.1:$API_PORT CELLCTL_TOKEN_FILE=$DEMO/control-state/token
  Where does somebody live, and why?
      $BIN/cellctl explain hooli
      curl -i -H 'x-tenant-id: hooli' http://127.0.0.1:$PROXY_PORT/
  Watch what happens while you change something:
      $BIN/cellctl events --follow
  Empty a cell. Its cells keep data, so nothing moves, and the answer says so:
      $BIN/cellctl cell drain eu-1
  Kill a cell's process; the daemon starts it anew, and only its own tenants notice:
      kill \$(sed -n 's/.*"pid": *//p' $DEMO/control-state/cells/eu-2/process.json | tr -d ',')
  Break the table by hand. Requests go on, the proxy says what is wrong, and the daemon does not write over it unasked:
      echo broken >$DEMO/table.yaml
      $BIN/cellgate-proxy check --config $DEMO/proxy.yaml
      $BIN/cellctl table show
  Logs are in $DEMO/control.log and $DEMO/proxy.log. conf/README.md describes all files.

Ctrl-C ends the demo, its cells too.
END
}

# ---------------------------------------------------------------------------------------------------------------------

check_ports
build
trap 'stop_all || true' EXIT
trap 'echo; echo "ending"; exit 0' INT
trap 'exit 143' TERM
start_all
wait_for "$API_PORT" /livez
make_cells
register_tenants
show_requests
add_fourth_cell
kill_daemon

if [ "$ONCE" != 0 ]; then
  stop_all || true
  if [ "$WRONG" -gt 0 ]; then
    die "wrong: $WRONG, marked WRONG above; logs are in $DEMO"
  fi
  echo
  echo "demo: all as it should be"
  exit 0
fi

show_what_next
status=0
wait "$PROXY_PID" || status=$?
not_ready "the proxy has ended by itself with $status"
