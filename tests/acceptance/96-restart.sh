# One server gives way to the next while clients storm the port: nobody is refused, all come back.

restart=$work/restart
rm -rf "$restart" && mkdir -p "$restart/first" "$restart/second"
port=$(free_port) ops=$(free_port)
# One exchange for both, so that a candle is the same candle.
"$simulator" --print-env >"$restart/env" 2>/dev/null &
pids+=("$!")
until_true 10 grep -q HYPERLIQUID_COINM_REST "$restart/env" || bad "the simulated exchanges print their variables"

# starts FOLDER COMMAND…: the server, started by the command, on the two ports.
starts() {
  local folder=$restart/$1
  shift
  # shellcheck disable=SC2046
  (cd "$folder" && exec env $(cat "$restart/env") CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=$ops \
    CONNECTOR_TAKEOVER_SOCKET="$restart/takeover" "$@" >out.log 2>err.log) &
  server_pid=$!
  pids+=("$server_pid")
}

starts first "$server"
first_pid=$server_pid
check "the first serves" until_true 10 curl -fs "http://127.0.0.1:$ops/ready"
if [ -n "$python" ]; then
  timeout 90 "$python" tests/acceptance/storm.py "ws://127.0.0.1:$port" 300 6 >"$restart/storm" 2>&1 &
  storm_pid=$!
  pids+=("$storm_pid")
  until_true 30 grep -q ready "$restart/storm" || true
  starts second "$server"
  check_ends "the first ends in order once the second has taken over" "$first_pid"
  check_ends "in a storm of Python clients nobody is refused, and 300 of 300 resume" "$storm_pid"
  tail -n 1 "$restart/storm" | sed 's/^/        /'
else
  skip "the storm of clients" "Python's websockets is not there"
  starts second "$server"
  check_ends "the first ends in order once the second has taken over" "$first_pid"
fi
check "the second serves at the same ports" curl -fs "http://127.0.0.1:$ops/ready"
kill -TERM "$server_pid" || true
check_ends "the second stops in order" "$server_pid"

if command -v systemd-socket-activate >/dev/null; then
  starts first systemd-socket-activate -l "127.0.0.1:$port" -l "127.0.0.1:$ops" --setenv=PATH \
    $(sed 's/=.*//; s/^/--setenv=/' "$restart/env") --setenv=CONNECTOR_WSS_PORT \
    --setenv=CONNECTOR_WSS_HEALTH_CHECK_PORT "$server"
  activated_pid=$server_pid
  check "the server runs on the sockets of systemd-socket-activate" until_true 10 curl -fs "http://127.0.0.1:$ops/ready"
  if [ -n "$websocat" ]; then
    echo "$request" | timeout 30 "$websocat" "ws://127.0.0.1:$port" >"$work/websocat.out" || true
    check "websocat is served there" is_served "$work/websocat.out"
  fi
  kill -TERM "$activated_pid" || true
  check_ends "it stops in order" "$activated_pid"
else
  skip "systemd's socket activation" "systemd-socket-activate is not there"
fi
