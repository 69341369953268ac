# Installs the clients under target/acceptance, once. A tool that cannot be had, or not in time, is
# skipped in words.

install_tools() {
  cargo build --release --quiet --bins
  websocat=$(command -v websocat || true)
  if [ -z "$websocat" ]; then
    websocat=$work/bin/websocat
    [ -x "$websocat" ] || timeout 900 cargo install --quiet --locked --root "$work" --version 1.14.1 websocat || websocat=
  fi
  python=$work/venv/bin/python
  if [ ! -x "$python" ]; then
    python3 -m venv "$work/venv"
  fi
  "$python" -c 'import websockets, prometheus_client' 2>/dev/null ||
    timeout 180 "$work/venv/bin/pip" install --quiet --disable-pip-version-check 'websockets==15.0.1' 'prometheus_client==0.23.1' || python=
  # What the Python connector's clients were written for.
  python12=$work/venv12/bin/python
  [ -x "$python12" ] || python3 -m venv "$work/venv12"
  "$python12" -c 'import websockets, orjson; assert websockets.__version__ == "12.0"' 2>/dev/null ||
    timeout 180 "$work/venv12/bin/pip" install --quiet --disable-pip-version-check 'websockets==12.0' 'orjson==3.11.4' || python12=
  if command -v npm >/dev/null; then
    [ -d "$work/node_modules/ws" ] ||
      timeout 120 npm install --silent --no-audit --no-fund --prefix "$work" ws@8 >/dev/null </dev/null || true
  fi
  install_browser
  if ! command -v promtool >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    (timeout 300 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq prometheus) >/dev/null 2>&1 || true
  fi
  if ! { command -v slowhttptest && command -v shellcheck && command -v strace && command -v logrotate; } >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    (timeout 300 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq slowhttptest shellcheck strace logrotate) >/dev/null 2>&1 || true
  fi
  wstest=$work/venv27/bin/wstest
  [ -x "$wstest" ] || install_wstest >/dev/null 2>&1 || wstest=
}

# Chromium, what gives it certificates to trust, and what drives it. A browser that playwright fetches
# by itself is not waited for.
install_browser() {
  if ! { find_chromium && command -v certutil; } >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    (timeout 300 apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq --no-install-recommends chromium libnss3-tools) >/dev/null 2>&1 || true
  fi
  chromium=$(find_chromium) && command -v certutil >/dev/null || chromium=
  if command -v npm >/dev/null && [ -n "$chromium" ]; then
    [ -d "$work/node_modules/playwright-core" ] ||
      timeout 120 npm install --silent --no-audit --no-fund --prefix "$work" playwright-core@1.64.1 >/dev/null </dev/null || true
  fi
}

find_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

# The Autobahn test suite, where a CPython 2.7 is found: on the path, or among pyenv's.
install_wstest() {
  local each python27=
  for each in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python; do
    if "$each" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
      python27=$("$each" -c 'import sys; print(sys.executable)')
      break
    fi
  done
  [ -n "$python27" ] || return 1
  # The last virtualenv that serves 2.7.
  [ -x "$work/venv-virtualenv/bin/virtualenv" ] ||
    { python3 -m venv "$work/venv-virtualenv" &&
      timeout 180 "$work/venv-virtualenv/bin/pip" install --quiet --disable-pip-version-check 'virtualenv==20.15'; } || return 1
  "$work/venv-virtualenv/bin/virtualenv" --quiet --python "$python27" "$work/venv27" &&
    timeout 300 "$work/venv27/bin/pip" install --quiet --disable-pip-version-check 'autobahntestsuite==25.10.1' &&
    [ -x "$wstest" ]
}
