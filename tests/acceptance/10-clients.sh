# websocat, Python and Node against the simulated exchange, also when its first data is late.

request='{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":3}'

# start_pair NAME DELAY_MS: a simulator and a server that points at it; sets $port and $ops.
start_pair() {
  local dir=$work/$1
  rm -rf "$dir" && mkdir -p "$dir"
  "$simulator" --print-env --first-data-delay-ms "$2" >"$dir/sim.env" 2>"$dir/sim.log" &
  pids+=($!)
  until_true 10 grep -q COINM_REST_URL "$dir/sim.env" || { cat "$dir/sim.log"; return 1; }
  port=$(free_port) ops=$(free_port)
  (cd "$dir" && set -a && . ./sim.env && CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=$ops \
    exec "$server" >"$dir/out.log" 2>"$dir/err.log") &
  server_pid=$!
  pids+=("$server_pid")
  until_true 10 curl -fs "http://127.0.0.1:$ops/health" || { cat "$dir/err.log"; return 1; }
}

# is_served FILE: subscribed, then exactly three quotes.
is_served() {
  [ "$(grep -c '"type":"subscribed"' "$1")" = 1 ] && [ "$(grep -c '"type":"quote"' "$1")" = 3 ]
}

for delay in 0 200 2000; do
  if ! start_pair "clients-$delay" "$delay"; then
    bad "server and simulator start ($delay ms)"
    continue
  fi
  if [ -n "$websocat" ]; then
    echo "$request" | timeout 30 "$websocat" "ws://localhost:$port" >"$work/websocat.out" || true
    check "websocat gets subscribed and three quotes (first data after $delay ms)" is_served "$work/websocat.out"
    # A fresh symbol each time, so that nothing is known yet when the client closes its side.
    echo "${request/BTCUSDT/ETHUSDT}" | timeout 30 "$websocat" "ws://127.0.0.1:$port" >"$work/websocat.out" || true
    check "websocat on a fresh symbol ($delay ms)" is_served "$work/websocat.out"
  else
    skip "websocat ($delay ms)" "it could not be installed"
  fi
  if [ -n "$python" ]; then
    timeout 30 "$python" tests/acceptance/client.py "ws://127.0.0.1:$port" "$request" >"$work/python.out" || true
    check "Python websockets gets three quotes ($delay ms)" is_served "$work/python.out"
    check "Python websockets sees close 1000 ($delay ms)" grep -q '^closed 1000' "$work/python.out"
  fi
  if [ -d "$work/node_modules/ws" ]; then
    timeout 30 node tests/acceptance/client.mjs "$work" "ws://127.0.0.1:$port" "$request" >"$work/node.out" || true
    check "Node ws gets three quotes ($delay ms)" is_served "$work/node.out"
    check "Node ws sees close 1000 ($delay ms)" grep -q '^closed 1000' "$work/node.out"
  else
    skip "Node ws ($delay ms)" "npm or the package is not there"
  fi
  kill -TERM "$server_pid" || true
  check_ends "SIGTERM ends it with exit code 0 ($delay ms)" "$server_pid"
  check "the last log line says so ($delay ms)" sh -c "tail -n 1 '$work/clients-$delay/logs/connector.log' | grep -q 'Server shutdown complete'"
done
