.PHONY: help run test check audit acceptance bench ledger sim storms soak scale fuzz simulator tune tune-check doc

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile
run: ## serve clients on :8765 from the simulated exchanges
	cargo run --release -- --simulate
test: ## every test
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run; else cargo test; fi
check: ## format, lints, tests and documentation, as before every commit
	cargo fmt --check && cargo clippy --all-targets -- -D warnings && $(MAKE) test && RUSTDOCFLAGS='-D warnings' cargo doc --no-deps
audit: ## licences, sources and known vulnerabilities of the crates that are built in
	tests/audit/run.sh
acceptance: ## the whole program against real clients and tools
	tests/acceptance/run.sh
bench: ## latency and cost beside a byte copier and a tokio relay: one table, target/bench/report.html (BASELINE=file)
	cargo bench --bench engines && cargo bench --bench wire -- --with-engines
ledger: ## size and times of the ledger's file with synthetic minutes (SERIES=1000 DAYS=1 KEPT_DAYS=1)
	SERIES=$(or $(SERIES),1000) DAYS=$(or $(DAYS),1) KEPT_DAYS=$(or $(KEPT_DAYS),$(DAYS),1) cargo bench --bench ledger
sim: ## the whole system in virtual time under every fault, SEEDS=100 runs; SEED=7 replays one
	SERIES=2000 SEEDS=$(or $(SEEDS),100) cargo test --profile sim --test simulation -- --nocapture
storms: ## clients that ask the exchanges for too much, beside one in production, in virtual time
	STORM=1 cargo test --profile sim --test simulation storms -- --nocapture
soak: ## the real server against the real simulator under faults, for MINUTES=10
	SOAK_MINUTES=$(or $(MINUTES),10) cargo test --profile sim --test soak -- --nocapture
scale: ## 10,000 clients of whom 2,000 do not read, and 1,000 answer no ping: memory, delays, resumes (CLIENTS=10000)
	SCALE_CLIENTS=$(or $(CLIENTS),10000) cargo test --release --test scale -- --nocapture --test-threads=1
fuzz: ## every reader of outside input under a coverage-guided fuzzer, for SECONDS=60
	tests/fuzz/run.sh $(or $(SECONDS),60)
simulator: ## the simulated exchanges by themselves
	cargo run --release --bin connector-sim
tune-check: ## what of this host costs the server time (CORES=1-3)
	tuning/check.sh $(if $(CORES),--cores $(CORES))
tune: ## sets what can be set while the host runs; needs root, taken back by tuning/apply.sh --undo
	tuning/apply.sh $(if $(CORES),--cores $(CORES))
doc: ## the library's documentation
	cargo doc --no-deps
