# Every exchange and contract type at once, on simulated exchanges whose minutes are short: closed
# candles equal the simulator's truth.

if [ -n "$python" ]; then
  dir=$work/all
  rm -rf "$dir" && mkdir -p "$dir"
  "$simulator" --print-env --time-scale 12 >"$dir/sim.env" 2>"$dir/sim.log" &
  pids+=($!)
  if until_true 10 grep -q HYPERLIQUID_COINM_REST_URL "$dir/sim.env"; then
    port=$(free_port) ops=$(free_port)
    (cd "$dir" && set -a && . ./sim.env && CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=$ops \
      exec "$server" >"$dir/out.log" 2>"$dir/err.log") &
    server_pid=$!
    pids+=("$server_pid")
    until_true 10 curl -fs "http://127.0.0.1:$ops/health"
    check "every exchange and contract type delivers the truth" "$python" tests/acceptance/client_all.py "ws://127.0.0.1:$port" "$dir/sim.env"
    check "all of them are ready" curl -fs "http://127.0.0.1:$ops/ready"
    kill -TERM "$server_pid" || true
    check_ends "SIGTERM ends it with exit code 0 (all exchanges)" "$server_pid"
  else
    bad "the simulator lists every exchange" "$(cat "$dir/sim.log")"
  fi
else
  skip "every exchange and contract type" "Python's websockets could not be installed"
fi
