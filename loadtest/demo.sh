#!/usr/bin/env bash
# The demo: builds cellgate, starts three demo cells and the proxy with copies of the example files of conf/, sends a few
# requests, moves one tenant by editing the table, and stays until Ctrl-C. `make demo` runs it.
#
#   ONCE=1           end after the requests: exit code 0 if all went as it should, else 1
#   PORT_OFFSET=N    add N to each port (8080, 9600, 9001, 9002, 9003)
#
# It starts afresh each time, in the folder `demo` of cargo's target folder. Runs on bash 3.2 without GNU tools.
set -euo pipefail

cd "$(dirname "$0")/.."

ONCE=${ONCE:-0}
PORT_OFFSET=${PORT_OFFSET:-0}
PROXY_PORT=$((8080 + PORT_OFFSET))
ADMIN_PORT=$((9600 + PORT_OFFSET))
CELL_PORT=$((9000 + PORT_OFFSET)) # eu-1 takes the next one, eu-2 the one after it, and so on
READY_SECONDS_MAX=20
MOVE_SECONDS_MAX=5
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
  for port in "$PROXY_PORT" "$ADMIN_PORT" $((CELL_PORT + 1)) $((CELL_PORT + 2)) $((CELL_PORT + 3)); do
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

PIDS=''
PROXY_PID=''

# Ends what was started. Fails if a process does not end in good order.
stop_all() {
  local pid pids=$PIDS status left failed=0
  PIDS=''
  for pid in $pids; do
    kill -TERM "$pid" 2>/dev/null || true
  done
  for pid in $pids; do
    left=$((STOP_SECONDS_MAX * 10))
    while kill -0 "$pid" 2>/dev/null && [ "$left" -gt 0 ]; do
      left=$((left - 1))
      sleep 0.1
    done
    if [ "$left" = 0 ]; then
      kill -KILL "$pid" 2>/dev/null || true
    fi
    status=0
    wait "$pid" 2>/dev/null || status=$?
    if [ "$status" != 0 ]; then
      failed=1
      [ "$ONCE" = 0 ] || wrong "process $pid ended with $status"
    fi
  done
  return "$failed"
}

start_cell() {
  local name=$1 port=$2
  "$BIN/demo-cell" --name "$name" --listen "127.0.0.1:$port" --data "$DEMO/cells/$name" >"$DEMO/$name.log" 2>&1 &
  PIDS="$PIDS $!"
  printf '  cell %s   127.0.0.1:%s   process %s\n' "$name" "$port" "$!"
}

start_all() {
  local name
  rm -rf "$DEMO"
  mkdir -p "$DEMO/cells"
  for name in proxy table; do
    sed -e "s/127\.0\.0\.1:8080/127.0.0.1:$PROXY_PORT/" -e "s/127\.0\.0\.1:9600/127.0.0.1:$ADMIN_PORT/" \
      -e "s/127\.0\.0\.1:9001/127.0.0.1:$((CELL_PORT + 1))/" -e "s/127\.0\.0\.1:9002/127.0.0.1:$((CELL_PORT + 2))/" \
      -e "s/127\.0\.0\.1:9003/127.0.0.1:$((CELL_PORT + 3))/" "conf/$name.yaml" >"$DEMO/$name.yaml"
    cp "conf/$name.schema.json" "$DEMO/"
  done
  heading "Three cells and a proxy"
  start_cell eu-1 $((CELL_PORT + 1))
  start_cell eu-2 $((CELL_PORT + 2))
  start_cell eu-3 $((CELL_PORT + 3))
  "$BIN/cellgate-proxy" --config "$DEMO/proxy.yaml" >"$DEMO/proxy.log" 2>&1 &
  PROXY_PID=$!
  PIDS="$PROXY_PID $PIDS"
  printf '  proxy       127.0.0.1:%s   process %s, admin on 127.0.0.1:%s\n' "$PROXY_PORT" "$PROXY_PID" "$ADMIN_PORT"
  printf '  table       %s   (a copy of conf/table.yaml)\n' "$DEMO/table.yaml"
}

not_ready() {
  local log
  echo "demo: $1"
  for log in "$DEMO"/*.log; do
    echo "--- the end of $log"
    tail -n 10 "$log"
  done
  exit 1
}

wait_until_ready() {
  local started=$SECONDS pid port
  for port in $((CELL_PORT + 1)) $((CELL_PORT + 2)) $((CELL_PORT + 3)) "$ADMIN_PORT"; do
    while :; do
      for pid in $PIDS; do
        kill -0 "$pid" 2>/dev/null || not_ready "process $pid has ended"
      done
      case "$port" in
        "$ADMIN_PORT") get "$port" /readyz ;;
        *) get "$port" /healthz ;;
      esac
      [ "$STATUS" != 200 ] || break
      [ $((SECONDS - started)) -lt "$READY_SECONDS_MAX" ] || not_ready "no 200 from 127.0.0.1:$port in time"
      sleep 0.1
    done
  done
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

# Sends a request of a tenant and asks the proxy why it went where it went. The two must agree.
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
    "override false") why="$key is pinned here by an override" ;;
    "override true") why="$key is an alias of $(field tenant), which is pinned here" ;;
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

show_requests() {
  heading "Seven requests to http://127.0.0.1:$PROXY_PORT/"
  row "REQUEST WITH" "ANSWERED BY" "WHY"
  show_tenant globex "x-tenant-id: globex"
  show_tenant hooli "x-tenant-id: hooli"
  show_tenant initech "Host: initech.example.com"
  show_tenant acme "x-tenant-id: acme"
  show_tenant acme-corp "Host: acme-corp.example.com"
  show_refused "x-tenant-id: evil-corp" 403 rejected "listed under rejects"
  show_refused "" 400 no_tenant_key "no rule of proxy.yaml finds one"
}

# Microseconds, where bash knows them.
now_us() {
  local now=${EPOCHREALTIME:-}
  printf '%s' "${now/[.,]/}"
}

# Moves acme from eu-3 to eu-2 in the table, and asks until the answer comes from there.
show_move() {
  local started began ended before took=''
  heading "Moving a tenant: acme from eu-3 to eu-2"
  get "$ADMIN_PORT" "/explain?tenant=acme"
  before=$(field generation)
  sed 's/^  acme: eu-3$/  acme: eu-2/' "$DEMO/table.yaml" >"$DEMO/table.yaml.new"
  diff "$DEMO/table.yaml" "$DEMO/table.yaml.new" | sed -n 's/^\([<>]\)/  \1/p' || true
  started=$SECONDS
  began=$(now_us)
  mv "$DEMO/table.yaml.new" "$DEMO/table.yaml"
  while :; do
    get "$PROXY_PORT" / "x-tenant-id: acme"
    ended=$(now_us)
    [ "$STATUS" = 200 ] || wrong "acme got $STATUS $(header_value x-cellgate-reason) while it moved"
    [ "$(header_value x-cell)" != eu-2 ] || break
    if [ $((SECONDS - started)) -ge "$MOVE_SECONDS_MAX" ]; then
      wrong "acme is still answered by $(header_value x-cell)"
      return
    fi
    sleep 0.02
  done
  if [ -n "$began" ]; then
    took=", seen $(((ended - began) / 1000)) ms after the edit"
  fi
  get "$ADMIN_PORT" "/explain?tenant=acme"
  row "x-tenant-id: acme" "eu-2" "generation $before is now $(field generation)$took"
}

show_what_next() {
  local eu_1
  # PIDS is the proxy and then the cells.
  eu_1=$(printf '%s\n' "$PIDS" | awk '{ print $2 }')
  heading "Try next, in another terminal, in $PWD"
  if ! command -v curl >/dev/null 2>&1; then
    echo "(these use curl, which is not installed here)"
  fi
  cat <<END
  Edit $DEMO/table.yaml: move acme, pin globex, reject hooli. Then see where it goes:
      curl -i -H 'x-tenant-id: acme' http://127.0.0.1:$PROXY_PORT/
  Break that file. Requests go on as before, and the proxy says what is wrong and where:
      $BIN/cellgate-proxy check --config $DEMO/proxy.yaml
      curl http://127.0.0.1:$ADMIN_PORT/status
  Give all slots of eu-1 to eu-2. It is refused: one edit may move 25 % of the slots, unless it says allow_move: true.
  Ask where a tenant lives, and why:
      $BIN/cellgate-proxy explain --table $DEMO/table.yaml globex
  Stop cell eu-1. Its tenants get 502 and then 503; the tenants of the others notice nothing:
      kill $eu_1
  The proxy logs to $DEMO/proxy.log. conf/README.md describes both files.

Ctrl-C ends the demo.
END
}

# ---------------------------------------------------------------------------------------------------------------------

check_ports
build
trap 'stop_all || true' EXIT
trap 'echo; echo "ending"; exit 0' INT
trap 'exit 143' TERM
start_all
wait_until_ready
show_requests
show_move

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
