# The real server against the real simulator under faults, with clients that come and go and a kill -9 in
# the middle: what every client was told is the simulator's truth.

check "a minute of faults: every client has the truth" env SOAK_MINUTES=1 cargo test --profile sim --test soak
