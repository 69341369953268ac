# Networks that are partly dead: IPv6 without a route, silent addresses, silent name servers, and no way
# out but a proxy. In network and mount namespaces, so that nothing of this host is changed.

if unshare -Urmn true 2>/dev/null && command -v ip >/dev/null; then
  check "sessions come up on networks that are partly dead" unshare -Urmn python3 tests/acceptance/namespaces.py "$server" "$simulator" "$work/namespaces"
else
  skip "networks that are partly dead" "no network namespace can be made here (unshare -Urmn)"
fi
