# The page on the ops port, in Chromium: it shows candles of the clients' port, an exchange that dies
# and comes back, and a server that is gone. Its pictures stay in target/acceptance/page-*.png.

# start_exchange NAME [OPTION…]: a simulator; sets $simulator_pid.
start_exchange() {
  local file=$work/$1.env
  shift
  rm -f "$file"
  "$simulator" --print-env "$@" >"$file" 2>"$file.log" &
  simulator_pid=$!
  pids+=("$simulator_pid")
  disown "$simulator_pid"
  until_true 10 grep -q HYPERLIQUID_COINM_REST_URL "$file"
}

# start_watched NAME [VARIABLE=VALUE…]: a server with symbols of two exchanges, of which one is a
# simulator of its own; sets $port, $ops, $spot, $server_pid, $simulator_pid.
start_watched() {
  local dir=$work/$1
  shift
  rm -rf "$dir" && mkdir -p "$dir"
  spot=$(free_port)
  start_exchange page-others
  start_exchange page-binance --spot-port "$spot" --symbols-extra 400
  grep -v BINANCE_SPOT "$work/page-others.env" >"$dir/sim.env"
  grep BINANCE_SPOT "$work/page-binance.env" >>"$dir/sim.env"
  port=$(free_port) ops=$(free_port)
  (cd "$dir" && set -a && . ./sim.env && exec env CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=$ops \
    CONNECTOR_PRELOAD='binance:spot:BTCUSDT,ETHUSDT;okx:swap:BTC-USDT-SWAP' CONNECTOR_RECONNECT_DELAY=0.5 \
    CONNECTOR_CIRCUIT_BREAKER_RECOVERY_TIMEOUT=2 "$@" "$server" >"$dir/out.log" 2>"$dir/err.log") &
  server_pid=$!
  pids+=("$server_pid")
  disown "$server_pid"
  until_true 10 curl -fs "http://127.0.0.1:$ops/health" || { cat "$dir/err.log"; return 1; }
}

# watch ARGUMENT…: runs the page's steps; each line is a claim that held, the last one is `done`.
watch() {
  local out=$work/watch.out line
  timeout 180 node tests/acceptance/ops_page.mjs "$work" "$chromium" "http://127.0.0.1:$ops/" "$@" >"$out" 2>&1 || true
  while read -r line; do
    case $line in holds:*) ok "${line#holds: }" ;; esac
  done <"$out"
  check "the page did all that was looked for ($1)" sh -c "tail -n 1 '$out' | grep -qx done || { cat '$out'; false; }"
}

if [ -n "$chromium" ] && [ -d "$work/node_modules/playwright-core" ]; then
  start_watched page
  watch exchanges "$simulator_pid" "$simulator" "$spot" "$server_pid"
  echo "right-token" >"$work/page.tokens"
  start_watched page-token CONNECTOR_WSS_TOKENS_FILE="$work/page.tokens"
  watch token right-token
  kill "$server_pid"
  start_watched page-origin CONNECTOR_WSS_ORIGINS=https://elsewhere.example
  watch origin
  kill "$server_pid"
  start_watched page-empty CONNECTOR_PRELOAD=
  watch empty
  kill "$server_pid"
  start_watched page-crowd CONNECTOR_PRELOAD="binance:spot:$(printf 'SIM%04dUSDT,' $(seq 399))BTCUSDT"
  watch crowd
  kill "$server_pid"
else
  skip "the page in Chromium" "chromium or playwright-core is not there and could not be installed"
fi
