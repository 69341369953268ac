# The deployment checklist, step by step, with the files as they are shipped.

dir=$work/checklist
rm -rf "$dir" && mkdir -p "$dir"
cp .env.example "$dir/.env"
first=$(free_port) first_ops=$(free_port) second=$(free_port) second_ops=$(free_port)
(cd "$dir" && exec env CONNECTOR_WSS_PORT=$first CONNECTOR_WSS_HEALTH_CHECK_PORT=$first_ops \
  "$server" --simulate >out.log 2>err.log) &
first_pid=$!
pids+=("$first_pid")
check "it starts with .env made from .env.example" until_true 10 curl -fs "http://127.0.0.1:$first_ops/health"
mkdir -p "$dir/second"
(cd "$dir/second" && exec env CONNECTOR_WSS_PORT=$second CONNECTOR_WSS_HEALTH_CHECK_PORT=$second_ops \
  "$server" --simulate >out.log 2>err.log) &
second_pid=$!
pids+=("$second_pid")
check "a second instance runs beside it" until_true 10 curl -fs "http://127.0.0.1:$second_ops/ready"
if [ -n "$websocat" ]; then
  for each in "$first" "$second"; do
    echo "$request" | timeout 30 "$websocat" "ws://localhost:$each" >"$work/websocat.out" || true
    check "websocat is served on port $each" is_served "$work/websocat.out"
  done
fi
kill -TERM "$first_pid" || true
check_ends "the first stops with exit code 0" "$first_pid"
check "its log ends with Server shutdown complete" \
  sh -c "tail -n 1 '$dir/logs/connector.log' | grep -q 'Server shutdown complete'"
check "the second is untouched" curl -fs "http://127.0.0.1:$second_ops/health"
kill -TERM "$second_pid" || true
check_ends "the second stops with exit code 0" "$second_pid"
