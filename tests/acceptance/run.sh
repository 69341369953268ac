#!/usr/bin/env bash
# The server as its users meet it: the release binary, and clients that were written by others
# (websocat, Python's websockets, Node's ws, Chromium, curl, promtool, a real Prometheus, Autobahn, slowhttptest);
# and the files in tuning/, by the tools of those who read them.
# Installs what is missing under target/acceptance; talks to loopback only; ends what it started.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/target/acceptance
mkdir -p "$work"
passed=0
failed=0
skipped=0
pids=()
failures=

cleanup() {
  for pid in "${pids[@]:-}"; do
    [ -n "$pid" ] && kill "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
}
trap cleanup EXIT

ok() { passed=$((passed + 1)); echo "ok      $1"; }
bad() {
  local report="FAILED  $1"
  failed=$((failed + 1))
  [ -z "${2:-}" ] || report+=$'\n'$(printf '%s\n' "$2" | tail -n 20 | sed 's/^/        /')
  echo "$report"
  failures+="${steps##*/}: $report"$'\n'
}
skip() { skipped=$((skipped + 1)); echo "skipped $1: $2"; }

# check NAME COMMAND…: the command must succeed.
check() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then ok "$name"; else bad "$name" "$out"; fi
}

# check_ends NAME PID: the process, a child of this shell, must end with exit code 0.
check_ends() {
  local code=0
  wait "$2" || code=$?
  if [ "$code" = 0 ]; then ok "$1"; else bad "$1" "exit code $code"; fi
}

# Below the ports that the kernel gives to connections, so that none takes it before the server does.
free_port() {
  python3 - <<'PYTHON'
import random, socket
while True:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
        except OSError:
            continue
        print(listener.getsockname()[1])
        break
PYTHON
}

# until_true SECONDS COMMAND…: waits until the command succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

. tests/acceptance/tools.sh
install_tools

server=$PWD/target/release/connector-wss
simulator=$PWD/target/release/connector-sim

for steps in tests/acceptance/[0-9]*.sh; do
  echo "== ${steps##*/}"
  # shellcheck source=/dev/null
  . "$steps"
done

# Again at the end: of a long output, the end is what is read.
printf '\n%s' "$failures"
echo "acceptance: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
