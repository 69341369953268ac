
# The tests of the whole process where the kernel refuses io_uring, as the default seccomp profiles of
# container runtimes do; and the release binary where only a part of it is refused.

tests=(cargo test --quiet --test process)
if cargo nextest --version >/dev/null 2>&1; then tests=(cargo nextest run --test process); fi
check "without io_uring every test of the process passes" python3 tests/process/forbid.py 425,426,427 "${tests[@]}"

# Every system call that the server makes at start fails in turn: it serves, or ends with a sentence, a
# remedy and exit code 1 or 2.
if command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null; then
  check "a start with one failing system call is well or a sentence" \
    timeout 90 python3 tests/acceptance/starts.py "$server"
else
  skip "a start with one failing system call" "strace is not there, or may not trace"
fi

folder=$work/no-io-uring
root=$PWD
request='{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":3}'
mkdir -p "$folder"
for call in 425 426 427; do
  port=$(free_port)
  rm -rf "$folder/logs"
  (cd "$folder" && CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=0 exec python3 "$root/tests/process/forbid.py" "$call" "$server" --simulate >out 2>&1) &
  server_pid=$!
  pids+=("$server_pid")
  until_true 10 grep -q '^clients:' "$folder/out" || true
  if [ -n "$websocat" ]; then
    echo "$request" | timeout 30 "$websocat" "ws://127.0.0.1:$port" >"$folder/websocat.out" || true
    check "with system call $call refused websocat gets three quotes" is_served "$folder/websocat.out"
  fi
  kill -TERM "$server_pid" || true
  check_ends "it stops in order with system call $call refused" "$server_pid"
  check "it says so at WARNING, once" sh -c "grep ' WARNING ' '$folder/logs/connector.log' | grep -c 'plain pinned threads' | grep -qx 1"
done
