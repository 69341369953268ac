# An independent client agrees that the simulated exchanges are faithful: ccxt's watchOHLCV.

ccxt_python=$work/venv-ccxt/bin/python
if [ ! -x "$ccxt_python" ] || ! "$ccxt_python" -c 'import ccxt.pro' 2>/dev/null; then
  python3 -m venv "$work/venv-ccxt" &&
    timeout 300 "$work/venv-ccxt/bin/pip" install --quiet --disable-pip-version-check 'ccxt==4.5.90' || ccxt_python=
fi
if [ -n "$ccxt_python" ]; then
  dir=$work/ccxt
  rm -rf "$dir" && mkdir -p "$dir"
  "$simulator" --print-env --time-scale 12 >"$dir/sim.env" 2>"$dir/sim.log" &
  pids+=($!)
  until_true 10 grep -q HYPERLIQUID_COINM_REST_URL "$dir/sim.env"
  check "ccxt sees the truth on all five simulated exchanges" "$ccxt_python" tests/acceptance/ccxt_watch.py "$dir/sim.env"
else
  skip "ccxt" "it could not be installed"
fi
