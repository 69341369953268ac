# The Autobahn test suite: our server's role with its answers swapped for an echo, our client's role,
# and the listener as it is shipped on the cases that need no echo. Every case strictly passed, and
# ended with the close code that it earns. Without Python 2.7, tests/process/conformance has the
# same cases.

dir=$work/autobahn
rm -rf "$dir" && mkdir -p "$dir"

# is_listening PORT
is_listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# spec NAME ROLE URL CASES: the suite's specification in $dir/NAME; ROLE is servers or fuzzingserver.
spec() {
  local target="\"url\":\"$3\",\"key\":\"$dir/key.pem\",\"cert\":\"$dir/cert.pem\""
  [ "$2" = servers ] && target="\"servers\":[{\"agent\":\"$1\",\"url\":\"$3\"}]"
  mkdir -p "$dir/$1"
  cat >"$dir/$1/spec.json" <<JSON
{"outdir":"$dir/$1/reports",$target,"cases":[$4],"exclude-cases":["12.*","13.*"],"exclude-agent-cases":{}}
JSON
}

# judge_server NAME URL CASES LEAST: the fuzzing client against a server that listens.
judge_server() {
  spec "$1" servers "$2" "$3"
  (cd "$dir/$1" && timeout 300 "$wstest" -m fuzzingclient -s spec.json >wstest.log 2>&1) || true
  check "Autobahn: $1" python3 tests/acceptance/autobahn_verdict.py "$dir/$1/reports/index.json" "$4"
}

# judge_echo NAME SCHEME VARIABLE=VALUE…: the server's role.
judge_echo() {
  local name=$1 scheme=$2 port
  shift 2
  port=$(free_port)
  mkdir -p "$dir/$name"
  (cd "$dir/$name" && exec env CONNECTOR_WSS_PORT="$port" CONNECTOR_WSS_HEALTH_CHECK_ENABLED=false \
    CONNECTOR_CLIENT_BUFFER_MAX=268435456 "$@" "$echo_server" >out.log 2>err.log) &
  local pid=$!
  pids+=("$pid")
  until_true 10 is_listening "$port" || { bad "the echo listens ($name)" "$(cat "$dir/$name/err.log")"; return; }
  judge_server "$name" "$scheme://127.0.0.1:$port" '"*"' 301
  kill "$pid"
}

# judge_client NAME SCHEME: our client's role against the fuzzing server.
judge_client() {
  local name=$1 port
  port=$(free_port)
  spec "$name" fuzzingserver "$2://127.0.0.1:$port" '"*"'
  (cd "$dir/$name" && exec "$wstest" -m fuzzingserver -s spec.json --webport=0 >wstest.log 2>&1) &
  local pid=$!
  pids+=("$pid")
  until_true 20 is_listening "$port" || { bad "the fuzzing server listens ($name)" "$(cat "$dir/$name/wstest.log")"; return; }
  CONNECTOR_TLS_CA_FILE=$dir/cert.pem timeout 300 "$echo_client" "$2://localhost:$port" "$name" \
    >"$dir/$name/out.log" 2>&1 || true
  check "Autobahn: $name" python3 tests/acceptance/autobahn_verdict.py "$dir/$name/reports/index.json" 301
  kill "$pid"
}

# What needs no echo. 6 without the texts that are in order, 7 without the messages to be echoed.
no_echo='"2.*","3.1","3.5","3.6","3.7","4.1.1","4.1.2","4.2.1","4.2.2","5.1","5.2","5.9","5.10",
"5.11","5.12","5.13","5.14","5.16","5.17","5.18","6.3.*","6.4.*","6.8.*","6.10.*","6.12.*","6.13.*",
"6.14.*","6.15.*","6.16.*","6.17.*","6.18.*","6.19.*","6.20.*","6.21.*","7.1.2","7.1.3","7.1.4",
"7.1.5","7.1.6","7.3.*","7.5.1","7.7.*","7.9.*","7.13.*"'

if [ -z "$wstest" ]; then
  skip "Autobahn" "no CPython 2.7 was found, or autobahntestsuite could not be installed for it"
else
  echo_server=$PWD/target/sim/examples/echo_server
  echo_client=$PWD/target/sim/examples/echo_client
  cargo build --profile sim --quiet --example echo_server --example echo_client
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/key.pem" -out "$dir/cert.pem" -days 30 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -addext basicConstraints=critical,CA:FALSE 2>/dev/null
  judge_echo server ws
  if "$server" --help | grep -q CONNECTOR_WSS_TLS_CERT_FILE; then
    judge_echo server-tls wss "CONNECTOR_WSS_TLS_CERT_FILE=$dir/cert.pem" "CONNECTOR_WSS_TLS_KEY_FILE=$dir/key.pem"
  else
    skip "Autobahn: server-tls" "this server speaks no TLS to clients"
  fi
  judge_client client ws
  judge_client client-tls wss
  start_simulated autobahn-listener
  judge_server listener "ws://127.0.0.1:$port" "$no_echo" 134
  kill "$server_pid"
fi
