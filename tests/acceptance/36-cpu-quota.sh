# The server in a cgroup that may use one CPU's time, as containers have it: an idle one is not throttled,
# and /health answers at once.

# A group below this shell's own with one CPU's time; of cgroup v2 (cpu.max) or of v1.
make_quota() {
  local v2 v1
  v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts 2>/dev/null)
  v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)cpu(,|$)/ { print $2; exit }' /proc/self/mounts 2>/dev/null)
  if [ -n "$v2" ] && grep -qw cpu "$v2/cgroup.subtree_control" 2>/dev/null; then
    quota=$v2/connector-wss-acceptance-$$
    mkdir "$quota" && echo "100000 100000" >"$quota/cpu.max"
  elif [ -n "$v1" ]; then
    quota=$v1/connector-wss-acceptance-$$
    mkdir "$quota" && echo 100000 >"$quota/cpu.cfs_period_us" && echo 100000 >"$quota/cpu.cfs_quota_us"
  else
    return 1
  fi
}

throttled() { awk '$1 == "nr_throttled" { print $2 }' "$quota/cpu.stat"; }

# health_within MS: the slowest of a hundred answers, a twentieth of a second apart.
health_within() {
  python3 - "$ops" "$1" <<'PYTHON'
import sys, time, urllib.request
slowest = 0.0
for _ in range(100):
    start = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=5) as answer:
        assert answer.status == 200, answer.status
    slowest = max(slowest, time.monotonic() - start)
    time.sleep(0.05)
print(f"slowest {slowest * 1000:.1f} ms")
sys.exit(slowest * 1000 > float(sys.argv[2]))
PYTHON
}

# throttled_at_most COUNT COMMAND…: while the command runs, and it must succeed.
throttled_at_most() {
  local most=$1 before after
  shift
  before=$(throttled)
  "$@" || return 1
  after=$(throttled)
  echo "throttled $((after - before)) times"
  [ $((after - before)) -le "$most" ]
}

if make_quota 2>/dev/null; then
  start_simulated cpu-quota sh -c "echo \$\$ >'$quota/cgroup.procs' && exec \"\$@\"" sh
  check "within one CPU's quota one core is planned" grep -q '^cores: .*shard0+fanout' "$work/cpu-quota/out.log"
  # What the start took is not idling.
  sleep 2
  check "an idle server within one CPU's quota is not throttled, and /health answers within 100 ms" \
    throttled_at_most 1 health_within 100
  if [ -n "$websocat" ]; then
    echo "$request" | timeout 30 "$websocat" "ws://127.0.0.1:$port" >"$work/cpu-quota/websocat.out" || true
    check "and websocat gets its quotes" is_served "$work/cpu-quota/websocat.out"
  fi
  kill -TERM "$server_pid" || true
  check_ends "and it stops in order" "$server_pid"
  rmdir "$quota"
else
  skip "one CPU's quota" "no group with one can be made here"
fi
