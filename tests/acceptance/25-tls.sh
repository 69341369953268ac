# wss with clients that trust our authority, and are served only because of that: websocat, Python,
# Node, curl, and a page in Chromium. As from a public authority, the certificate is vouched for by one
# in between, which the server shows.

dir=$work/authority
rm -rf "$dir" && mkdir -p "$dir"

# certify NAME SUBJECT EXTENSION [openssl's options…]: $dir/NAME.pem and its key.
certify() {
  local name=$1 subject=$2 extension=$3
  shift 3
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/$name.key" -out "$dir/$name.pem" -days 30 \
    -subj "/CN=$subject" -addext "$extension" "$@" 2>/dev/null
}

authority=basicConstraints=critical,CA:TRUE
usage=keyUsage=critical,keyCertSign
certify root "acceptance root" "$authority" -addext "$usage"
certify between "acceptance intermediate" "$authority" -addext "$usage" \
  -CA "$dir/root.pem" -CAkey "$dir/root.key"
certify leaf localhost subjectAltName=DNS:localhost,IP:127.0.0.1 \
  -addext basicConstraints=critical,CA:FALSE -CA "$dir/between.pem" -CAkey "$dir/between.key"
cat "$dir/leaf.pem" "$dir/between.pem" >"$dir/chain.pem"

page_port=$(free_port)
start_simulated tls "CONNECTOR_WSS_TLS_CERT_FILE=$dir/chain.pem" "CONNECTOR_WSS_TLS_KEY_FILE=$dir/leaf.key" \
  "CONNECTOR_WSS_ORIGINS=https://localhost:$page_port"

# check_wss NAME TRUST COMMAND…: with the variable TRUST, which names the root, it is served; without,
# it gets nothing.
check_wss() {
  local name=$1 trust=$2 said
  shift 2
  said=$work/wss.out
  (export "$trust=$dir/root.pem" && echo "$request" | timeout 30 "$@") >"$said" 2>&1 || true
  check "$name gets subscribed and three quotes over wss" is_served "$said"
  echo "$request" | timeout 30 "$@" >"$said" 2>&1 || true
  check "$name refuses wss of an authority that it does not trust" \
    sh -c "! grep -q '\"type\"' '$said' && grep -qi certificate '$said'"
}

if [ -n "$websocat" ]; then
  check_wss websocat SSL_CERT_FILE "$websocat" "wss://localhost:$port"
else
  skip "websocat over wss" "it could not be installed"
fi
if [ -n "$python" ]; then
  check_wss "Python websockets" SSL_CERT_FILE "$python" tests/acceptance/client.py "wss://localhost:$port" "$request"
else
  skip "Python websockets over wss" "it could not be installed"
fi
if [ -d "$work/node_modules/ws" ]; then
  check_wss "Node ws" NODE_EXTRA_CA_CERTS node tests/acceptance/client.mjs "$work" "wss://localhost:$port" "$request"
else
  skip "Node ws over wss" "npm or the package is not there"
fi
check "https /health on the clients' port is healthy" \
  sh -c "curl -fs --cacert '$dir/root.pem' https://localhost:$port/health | grep -q '\"status\":\"healthy\"'"

# check_page NAME HOST PATTERN: a page from https://HOST ends with a line that matches.
check_page() {
  local out=$work/page.out
  HOME=$dir timeout 60 node tests/acceptance/page.mjs "$work" "$chromium" "https://$2:$page_port" "$dir" \
    "wss://localhost:$port" "$request" >"$out" 2>&1 || true
  check "$1" sh -c "tail -n 1 '$out' | grep -q '$3' || { cat '$out'; false; }"
}

if [ -n "$chromium" ] && [ -d "$work/node_modules/playwright-core" ]; then
  mkdir -p "$dir/.pki/nssdb"
  certutil -d "sql:$dir/.pki/nssdb" -N --empty-password
  certutil -d "sql:$dir/.pki/nssdb" -A -n acceptance -t C,, -i "$dir/root.pem"
  check_page "a page in Chromium shows a candle over wss" localhost '^BTCUSDT [0-9.]* [0-9.]* [0-9.]* [0-9.]*, closed 1000$'
  check "it was subscribed and got three quotes" is_served "$work/page.out"
  check_page "a page of another origin is not let in" 127.0.0.1 '^nothing, closed 1006$'
  check "it was refused with 403" grep -q 'response code: 403' "$work/page.out"
else
  skip "a page in Chromium over wss" "chromium, certutil or playwright-core is not there and could not be installed"
fi
kill "$server_pid"
