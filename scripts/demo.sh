#!/bin/bash
# Shows Millrace at work: a video becomes N frames, each frame starts a detector, annotated pictures and JSON files come
# out. Called by `make demo`; the executable is built already.
#
#   N=20                frames, and so runs of the detector
#   BROKER=             the broker's URL, or `nats` for a NATS server that is fetched and started here; without it the
#                       embedded one
#   REPLICAS=           a gateway and so many workers instead of one server, over a NATS server and a PostgreSQL that are
#                       started here by config/examples/replicas/start
#   MILLRACE_BIN=PATH   the executable; build/release/millrace without it
#   MILLRACE_DEMO_DATA=DIR
#                       where everything lies; /var/lib/millrace-demo for root, ~/.local/share/millrace-demo for others
#
# The directory is made anew by each run, and stays afterwards, to be looked at. Root's daemon runs as user `millrace`,
# who must be able to reach it. Only root can limit functions on every host: an ordinary user's are plain processes here.
set -euo pipefail
cd "$(dirname "$0")/.."

frames=${N:-20}
broker=${BROKER:-}
broker_options=()
replicas=${REPLICAS:-}
millrace=${MILLRACE_BIN:-$PWD/build/release/millrace}
example=config/examples/people
ready_wait_s=60
user=
default_data=${XDG_DATA_HOME:-$HOME/.local/share}/millrace-demo
if [ "$(id -u)" -eq 0 ]; then
  user=millrace
  default_data=/var/lib/millrace-demo
fi
data=${MILLRACE_DEMO_DATA:-$default_data}
mark=$data/.made-by-millrace-demo
node=$data  # whose files are those of users
[ -z "$replicas" ] || node=$data/replicas/gateway
log=$data/serve.log
server=
nats_server=

die() {
  echo "demo: $*" >&2
  exit 1
}

# The server ends its functions and their sandboxes before it exits.
stop_server() {
  local process
  for process in $server $nats_server; do
    kill -TERM "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  server=
  nats_server=
}

# On free ports, with a store of its own that is synced before anything is confirmed.
start_nats() {
  local program port monitor tries
  program=$(scripts/fetch_nats_server)
  read -r port monitor < <(/usr/bin/python3 -c '
import socket
probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(probe.getsockname()[1] for probe in probes))')
  mkdir "$data/nats"
  cat >"$data/nats/nats.conf" <<CONFIG
listen: "127.0.0.1:$port"
http: "127.0.0.1:$monitor"
max_payload: 2MB
jetstream {
  store_dir: "$data/nats/store"
  sync_interval: always
}
CONFIG
  "$program" -c "$data/nats/nats.conf" </dev/null >"$data/nats/nats.log" 2>&1 &
  nats_server=$!
  for ((tries = 0; tries < ready_wait_s * 10; tries++)); do
    if curl -fsS "http://127.0.0.1:$monitor/healthz" >/dev/null 2>&1; then
      broker=nats://127.0.0.1:$port
      broker_options=(--nats-monitor "http://127.0.0.1:$monitor")
      echo "the NATS server: $broker, store in $data/nats"
      return
    fi
    kill -0 "$nats_server" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$data/nats/nats.log" >&2
  die "the NATS server did not start; its log is $data/nats/nats.log"
}

fresh_data() {
  if [ -e "$data" ]; then
    [ -e "$mark" ] || die "$data exists and was not made by this script; move it away"
    local old
    old=$(cat "$mark")
    if [ -n "$old" ] && [ -e "/proc/$old" ] && tr '\0' ' ' <"/proc/$old/cmdline" | grep -qF -- " $data"; then
      die "another demo is running there (process $old); stop it first"
    fi
    rm -rf --one-file-system "$data"
  fi
  mkdir -p "$(dirname "$data")"
  mkdir -m 0711 "$data"
  # Opened before the directory is the user's, who could lay a link in their way afterwards.
  exec {mark_file}>"$mark" {log_file}>"$log"
}

start_server() {
  local arguments=() isolation=()
  if [ -z "$user" ]; then isolation=(--allow-missing-isolation yes); fi
  if [ -n "$replicas" ]; then
    arguments=(env WORKERS="$replicas" LISTEN=127.0.0.1:0 NATS_SERVER="$(scripts/fetch_nats_server)"
      MILLRACE_BIN="$millrace" config/examples/replicas/start "$data/replicas")
  else
    if [ "$broker" = nats ]; then start_nats; fi
    if [ -n "$user" ]; then chown "$user:" "$data"; fi
    arguments=("$millrace" serve --data "$data" --listen 127.0.0.1:0)
    if [ -n "$broker" ]; then arguments+=(--broker "$broker" ${broker_options[@]+"${broker_options[@]}"}); fi
  fi
  "${arguments[@]}" ${isolation[@]+"${isolation[@]}"} </dev/null >&"$log_file" 2>&1 {mark_file}>&- &
  server=$!
  echo "$server" >&"$mark_file"
  local tries
  for ((tries = 0; tries < ready_wait_s * 10; tries++)); do
    if is_ready; then return; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$log" >&2
  die "the server did not start; its log is $log"
}

# One that answers; of several, all: then the script that starts them says so.
is_ready() {
  if [ -n "$replicas" ]; then grep -q '^ready: ' "$log" || return 1; fi
  [ -s "$node/listen" ] && "$millrace" ls >/dev/null 2>&1
}

# Files in a bucket whose name ends with $2; names with line breaks count once.
count() {
  find "$node/buckets/$1" -maxdepth 1 -type f -name "*$2" -printf x 2>/dev/null | wc -c
}

running() {
  "$millrace" topics -o json | /usr/bin/python3 -c '
import json, sys
print(sum(topic["in_flight"] for topic in json.load(sys.stdin)["topics"] if topic["name"] == "fn.people"))'
}

show_progress() {
  local line
  line="frames $(count frames .jpg)/$frames, people $(count people .json)/$frames, running $(running)"
  if [ -t 1 ]; then
    printf '\r\033[K%s' "$line"
  elif [ "$line" != "${shown:-}" ]; then
    echo "$line"
    shown=$line
  fi
}

wait_until_idle() {
  local deadline=$((SECONDS + 600 + frames * 20)) pause=5s status
  if [ -t 1 ]; then pause=500ms; fi
  while :; do
    status=0
    "$millrace" wait --idle --timeout "$pause" 2>/dev/null || status=$?
    show_progress
    case $status in
      0) break ;;
      6) [ "$SECONDS" -lt "$deadline" ] || die "not done after $((SECONDS - begun)) s; the server's log is $log" ;;
      *) die "the server does not answer (exit code $status); its log is $log" ;;
    esac
  done
  if [ -t 1 ]; then echo; fi
}

runs_by_node() {
  "$millrace" runs -f people --limit 1000000 -o json | /usr/bin/python3 -c '
import collections, json, sys
runs = collections.Counter(run["node"] for run in json.load(sys.stdin)["runs"])
print("runs of people:", ", ".join(f"{runs[node]} by {node}" for node in sorted(runs)))'
}

people_found() {
  /usr/bin/python3 - "$node/buckets/people" <<'PYTHON'
import json, pathlib, sys
counts = [len(json.loads(path.read_text())["people"]) for path in pathlib.Path(sys.argv[1]).glob("*.json")]
print(f"{sum(counts)} people in {sum(count > 0 for count in counts)} of {len(counts)} frames")
PYTHON
}

[[ $frames =~ ^[1-9][0-9]{0,5}$ ]] || die "N=$frames: expected a number of frames, 1 to 999999"
[[ $replicas =~ ^([1-9][0-9]?)?$ ]] || die "REPLICAS=$replicas: expected a number of workers, 1 to 99"
[[ -z $replicas || -z $broker || $broker = nats ]] ||
  die "BROKER=$broker: with REPLICAS the NATS server is started here; leave one of them out"
[[ $data = /* ]] || die "MILLRACE_DEMO_DATA=$data: expected an absolute path"
[ -x "$millrace" ] || die "$millrace is missing; run \`make build\`, or \`make demo\`, which does"
trap stop_server EXIT
trap 'echo; exit 130' INT
trap 'exit 143' TERM HUP
scripts/make_user
fresh_data
# The client finds address and token of this server in its data directory, whatever the caller talks to otherwise.
unset MILLRACE_URL MILLRACE_TOKEN
export MILLRACE_DATA=$node

echo "the video: people on a campus square"
scripts/fetch_demo_video "$data/demo/vtest.avi"
cp "$example"/*.sh "$example"/*.py "$data/demo/"
sed "s/^\( *FRAMES:\).*/\1 $frames/" "$example/functions.yaml" >"$data/demo/functions.yaml"
grep -q "FRAMES: $frames\$" "$data/demo/functions.yaml" || die "$example/functions.yaml has no FRAMES to set"
if [ -z "$user" ]; then
  echo "not root: the functions are plain processes, neither isolated nor limited"
  sed -i '/^ *memory:/d; /^ *cpu:/d; s/^\( *\)image: host$/&\n\1executor: process/' "$data/demo/functions.yaml"
fi

start_server
echo "the server: http://$(cat "$node/listen"), data in $data, log in $log"
"$millrace" apply "$data/demo/functions.yaml"
begun=$SECONDS
"$millrace" put "$data/demo/vtest.avi" videos/vtest.avi
wait_until_idle

echo
"$millrace" stats
pictures=$(count people .jpg)
texts=$(count people .json)
echo
if [ "$pictures" -ne "$frames" ] || [ "$texts" -ne "$frames" ]; then
  die "expected $frames pictures and $frames JSON files in $node/buckets/people, found $pictures and $texts; see $log"
fi
if [ -n "$replicas" ]; then runs_by_node; fi
echo "$(people_found), in $((SECONDS - begun)) s"
echo "look at them: $node/buckets/people"
