# The clients of the README, as they stand there: each resumes with `since` after the server was
# stopped, and misses and repeats no minute. Minutes are short here.

# readme_client LANGUAGE PORT: the README's only client in that language, at another port.
readme_client() {
  sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" README.md | sed "/^\`\`\`/d; s/localhost:8765/127.0.0.1:$2/"
}

# start_at PORT OPS: a server in $dir that points at the simulator there; sets $server_pid.
start_at() {
  (cd "$dir" && set -a && . ./sim.env && CONNECTOR_WSS_PORT=$1 CONNECTOR_WSS_HEALTH_CHECK_PORT=$2 \
    exec "$server" >>"$dir/out.log" 2>>"$dir/err.log") &
  server_pid=$!
  pids+=("$server_pid")
  until_true 10 curl -fs "http://127.0.0.1:$2/health"
}

# has_lines FILE COUNT: the file has more lines than that.
has_lines() { [ "$(wc -l <"$1")" -gt "$2" ]; }

# is_unbroken FILE: its first words are open times, each a minute after the one before.
is_unbroken() {
  awk 'NR > 1 && $1 != last + 60000 { print "after " last " comes " $1; bad = 1 } { last = $1 } END { exit bad }' "$1"
}

# resumes NAME COMMAND…: runs a client over a restart of the server.
resumes() {
  local name=$1 out=$dir/client.out seen
  shift
  start_at "$port" "$ops"
  "$@" >"$out" 2>"$out.err" &
  local client_pid=$!
  pids+=("$client_pid")
  until_true 30 has_lines "$out" 3 || true
  kill -TERM "$server_pid" || true
  wait "$server_pid" || true
  seen=$(wc -l <"$out")
  start_at "$port" "$ops"
  check "$name comes back after a restart" until_true 30 has_lines "$out" $((seen + 5))
  check "$name has every minute once" is_unbroken "$out"
  kill "$client_pid"
  wait "$client_pid" 2>/dev/null || true
  kill -TERM "$server_pid" || true
  wait "$server_pid" || true
}

dir=$work/resume
rm -rf "$dir" && mkdir -p "$dir"
"$simulator" --print-env --time-scale 60 >"$dir/sim.env" 2>"$dir/sim.log" &
pids+=($!)
until_true 10 grep -q HYPERLIQUID_COINM_REST_URL "$dir/sim.env" || bad "the simulated exchanges print their variables"
port=$(free_port) ops=$(free_port)
if [ -n "$python" ]; then
  readme_client python "$port" >"$dir/client.py"
  resumes "the README's Python client" "$python" "$dir/client.py"
else
  skip "the README's Python client" "Python's websockets could not be installed"
fi
if [ -d "$work/node_modules/ws" ]; then
  readme_client js "$port" >"$work/readme-client.mjs"
  resumes "the README's JavaScript client" node "$work/readme-client.mjs"
else
  skip "the README's JavaScript client" "npm or the package is not there"
fi
