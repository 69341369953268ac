# A thousand connections that send or read as slowly as they can, on both ports: the service stays
# available to everybody else, second by second.

# stays_available URL MODE: slowhttptest sees the service answer throughout.
stays_available() {
  local out
  out=$(timeout 120 slowhttptest -c 1000 "-$2" -i 2 -r 500 -u "$1" -x 24 -p 3 -l 20 2>&1 | tr -d '\033')
  grep -a 'Exit status' <<<"$out"
  grep -aq 'service available:.*YES' <<<"$out" && ! grep -aq 'service available:.*NO' <<<"$out"
}

if ! command -v slowhttptest >/dev/null; then
  skip "slowhttptest" "it could not be installed"
else
  start_simulated slow
  for each in "clients:$port" "ops:$ops"; do
    for mode in H B X; do
      check "slowhttptest -$mode on the ${each%:*} port: service available throughout" \
        stays_available "http://127.0.0.1:${each#*:}/" "$mode"
    done
  done
  check "a client is served all the same" until_true 10 curl -fs "http://127.0.0.1:$ops/ready"
  kill "$server_pid"
fi
