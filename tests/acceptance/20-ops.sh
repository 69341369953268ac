# Health, readiness and metrics, judged by Prometheus' own tools and by a running Prometheus.

# start_simulated NAME [VARIABLE=VALUE…]: the server with its own simulator; sets $port, $ops, $server_pid.
start_simulated() {
  local dir=$work/$1
  shift
  rm -rf "$dir" && mkdir -p "$dir"
  port=$(free_port) ops=$(free_port)
  (cd "$dir" && exec env CONNECTOR_WSS_PORT=$port CONNECTOR_WSS_HEALTH_CHECK_PORT=$ops "$@" \
    "$server" --simulate >"$dir/out.log" 2>"$dir/err.log") &
  server_pid=$!
  pids+=("$server_pid")
  until_true 10 curl -fs "http://127.0.0.1:$ops/health" || { cat "$dir/err.log"; return 1; }
}

start_simulated ops
ops_pid=$server_pid
[ -z "$python" ] || timeout 30 "$python" tests/acceptance/client.py "ws://127.0.0.1:$port" "$request" >/dev/null || true
check "/health is healthy" sh -c "curl -fs http://127.0.0.1:$ops/health | grep -q '\"status\":\"healthy\"'"
check "/ready is ready" sh -c "curl -fs http://127.0.0.1:$ops/ready | grep -q '\"status\":\"ready\"'"
if command -v promtool >/dev/null; then
  check "promtool accepts /metrics" sh -c "curl -fs http://127.0.0.1:$ops/metrics | promtool check metrics"
else
  skip "promtool check metrics" "promtool is not there"
fi
[ -z "$python" ] || check "the OpenMetrics parser accepts /metrics" "$python" - "$ops" <<'PYTHON'
import sys, urllib.request
from prometheus_client.openmetrics.parser import text_string_to_metric_families
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/metrics")
request.add_header("Accept", "application/openmetrics-text;version=1.0.0")
with urllib.request.urlopen(request) as answer:
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text"), answer.headers
    families = list(text_string_to_metric_families(answer.read().decode()))
assert len(families) > 20, families
PYTHON
if command -v prometheus >/dev/null; then
  prom=$(free_port)
  cat >"$work/prometheus.yml" <<YAML
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: connector
    static_configs: [{targets: ["127.0.0.1:$ops"]}]
YAML
  rm -rf "$work/tsdb"
  prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
    --web.listen-address="127.0.0.1:$prom" >"$work/prometheus.log" 2>&1 &
  prometheus_pid=$!
  pids+=("$prometheus_pid")
  is_up() { curl -fs "http://127.0.0.1:$prom/api/v1/query?query=up" | grep -q '"1"\]'; }
  check "a real Prometheus scrapes it (up == 1)" until_true 20 is_up
  kill "$prometheus_pid"
else
  skip "a real Prometheus" "it is not there"
fi
kill -TERM "$ops_pid" || true
check_ends "SIGTERM ends the server with exit code 0" "$ops_pid"
