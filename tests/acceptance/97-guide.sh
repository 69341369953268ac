# The deployment guide, which is its own test: each of its commands is run, and what it prints is compared
# with what the guide says. What cannot be run here says so in the guide, and is only parsed.

# follow GUIDE: says on stdout what was run, and how it was otherwise than the guide says.
follow() {
  PATH="${websocat:+$(dirname "$websocat"):}$PATH" timeout 300 python3 tests/acceptance/guide.py run \
    "$1" "$work/guide" "$(dirname "$server")" 2>&1
}

# A guide that is wrong in each way there is. Of its six mistakes each must be found.
wrong_guide=$work/wrong-guide.md
cat >"$wrong_guide" <<'GUIDE'
```console
$ echo one
two
$ echo three
$ false
```

```console sometimes
$ echo four
```

```console cluster
$ echo five
```

Not here: not executed by our tests.

```console cluster
$ echo 'six
```
GUIDE
finds_mistakes() {
  local said
  said=$(follow "$wrong_guide") && return 1
  echo "$said"
  [ "$(grep -c '^line ' <<<"$said")" = 6 ]
}
check "a guide that is wrong is found out" finds_mistakes

if [ -z "$websocat" ]; then
  : >"$work/guide.out"
  skip "the deployment guide" "websocat could not be installed"
elif follow tuning/deployment.md >"$work/guide.out"; then
  ok "the deployment guide does what it says"
else
  bad "the deployment guide does what it says (all of it: target/acceptance/guide.out)" "$(cat "$work/guide.out")"
fi
while read -r line; do
  skip "a command of the guide" "${line#left out: }"
done < <(grep '^left out: ' "$work/guide.out" || true)
grep '^blocks: ' "$work/guide.out" | sed 's/^/        /' || true
