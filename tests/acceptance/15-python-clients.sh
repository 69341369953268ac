# The clients of the Python connector, with the library that they were written for: one for each
# market, and the one that asks for hundreds of symbols in a request.

if [ -n "$python12" ]; then
  dir=$work/python-clients
  rm -rf "$dir" && mkdir -p "$dir"
  "$simulator" --print-env --symbols-extra 300 >"$dir/sim.env" 2>"$dir/sim.log" &
  pids+=($!)
  if until_true 10 grep -q HYPERLIQUID_COINM_REST_URL "$dir/sim.env"; then
    port=$(free_port) ops=$(free_port)
    (cd "$dir" && set -a && . ./sim.env && CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=$ops \
      exec "$server" >"$dir/out.log" 2>"$dir/err.log") &
    server_pid=$!
    pids+=("$server_pid")
    until_true 10 curl -fs "http://127.0.0.1:$ops/health"
    check "fifteen clients of the Python connector get what they want" "$python12" tests/acceptance/python_clients.py markets "ws://127.0.0.1:$port"
    check "its batch client gets all of 1,200 symbols and no error" "$python12" tests/acceptance/python_clients.py batch "ws://127.0.0.1:$port"
    kill -TERM "$server_pid" || true
    check_ends "SIGTERM ends it with exit code 0 (the Python connector's clients)" "$server_pid"
  else
    bad "the simulator lists every exchange (the Python connector's clients)" "$(cat "$dir/sim.log")"
  fi
else
  skip "clients of the Python connector" "Python's websockets 12 and orjson could not be installed"
fi
