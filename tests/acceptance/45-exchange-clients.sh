# Clients of the exchanges, unchanged, at the simulated exchanges, in real time: what they ask for
# and what is pushed to them is the truth. All run at once.

dir=$work/exchange-clients
rm -rf "$dir" && mkdir -p "$dir"
scripts=tests/acceptance/exchange_clients

# install_python VENV PYTHON REQUIREMENT…: sets $venv_python, to nothing where that cannot be had.
install_python() {
  local venv=$work/$1 python=$2
  shift 2
  venv_python=$venv/bin/python
  printf '%s\n' "$@" >"$dir/requirements.txt"
  cmp -s "$dir/requirements.txt" "$venv/installed.txt" && return
  # Wheels alone: nothing is compiled here.
  { [ -x "$venv_python" ] || "$python" -m venv "$venv"; } &&
    timeout 300 "$venv_python" -m pip install --quiet --disable-pip-version-check \
      --only-binary :all: -r "$dir/requirements.txt" >"$dir/pip.log" 2>&1 &&
    cp "$dir/requirements.txt" "$venv/installed.txt" && return
  venv_python=
}

# The newest Python from 3.12 on, which nautilus_trader needs: on the path, or among pyenv's.
newer_python() {
  local each
  for each in python3.14 python3.13 python3.12 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[234]*/bin/python; do
    if "$each" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
      echo "$each"
      return
    fi
  done
  return 1
}

# start_client NAME PYTHON ENVIRONMENT [NAME=VALUE…]: in the background, if there is a Python for it.
start_client() {
  local name=$1 python=$2 environment=$3
  shift 3
  client_names+=("$name")
  client_pids+=("")
  [ -n "$python" ] || return 0
  env "$@" PYTHONDONTWRITEBYTECODE=1 timeout 240 "$python" "$scripts/with_$name.py" "$environment" \
    >"$dir/$name.out" 2>"$dir/$name.err" &
  client_pids[-1]=$!
  pids+=("$!")
}

install_python venv-exchange-clients python3 \
  'ccxt==4.5.90' 'python-binance==1.0.37' 'binance-sdk-spot==13.3.0' 'pybit==5.17.0'
clients_python=$venv_python
install_python venv-nautilus "$(newer_python)" 'nautilus_trader==1.231.0'
nautilus_python=$venv_python

# Its own for nautilus_trader, whose three clients of OKX open six connections in one second.
"$simulator" --print-env >"$dir/sim.env" 2>"$dir/sim.log" &
pids+=($!)
"$simulator" --print-env --no-limits >"$dir/nautilus.env" 2>>"$dir/sim.log" &
pids+=($!)
"$simulator" --print-env --tls --tls-name api.bybit.com --tls-name stream.bybit.com \
  --tls-ca-out "$dir/ca.pem" >"$dir/tls.env" 2>>"$dir/sim.log" &
pids+=($!)
for each in sim nautilus tls; do
  until_true 10 grep -q HYPERLIQUID_COINM_REST_URL "$dir/$each.env"
done
bybit_port=$(sed -n 's/^CONNECTOR_BYBIT_SPOT_REST_URL=.*://p' "$dir/tls.env")
python3 "$scripts/connect_proxy.py" "api.bybit.com=$bybit_port" "stream.bybit.com=$bybit_port" \
  >"$dir/proxy.out" 2>"$dir/proxy.err" &
pids+=($!)
until_true 20 test -s "$dir/proxy.out"

client_names=() client_pids=()
start_client ccxt "$clients_python" "$dir/sim.env"
start_client python_binance "$clients_python" "$dir/sim.env"
start_client binance_sdk "$clients_python" "$dir/sim.env"
start_client pybit "$clients_python" "$dir/sim.env" \
  "https_proxy=$(cat "$dir/proxy.out")" "SSL_CERT_FILE=$dir/ca.pem"
start_client nautilus "$nautilus_python" "$dir/nautilus.env"
for index in "${!client_names[@]}"; do
  name=${client_names[$index]}
  if [ -z "${client_pids[$index]}" ]; then
    skip "$name at the simulated exchanges" "it could not be installed"
  elif wait "${client_pids[$index]}"; then
    while IFS= read -r line; do
      ok "$line"
    done < <(grep equal "$dir/$name.out")
  else
    bad "$name sees the truth at the simulated exchanges" \
      "$(cat "$dir/$name.err" "$dir/$name.out" | tr -d '\000')"
  fi
done
