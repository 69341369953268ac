#!/usr/bin/env bash
# libFuzzer over every reader, on stable Rust: the coverage counters are the compiler's own, asked for by
# flags. Without a C++ compiler the readers run under mutated input, without guidance.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
folder=$PWD/target/fuzz
mkdir -p "$folder/corpus"
if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null; then
  echo "no C++ compiler for libFuzzer: mutated input for $seconds s instead, without guidance"
  FUZZ_SECONDS=$seconds exec cargo test --profile sim --test fuzz -- --nocapture
fi
FUZZ_CORPUS=$folder/corpus cargo test --profile sim --test fuzz -- corpus
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
# With a target named, build scripts are built without the flags.
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$flags" CARGO_TARGET_DIR="$folder/build" \
  cargo build --profile sim --features fuzzing --example fuzz_guided --target "$target"
binary=$folder/build/$target/sim/examples/fuzz_guided
cd "$folder"
"$binary" -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=4096 -print_final_stats=1 \
  -artifact_prefix="$folder/crash-" corpus 2>&1 | tee "$folder/log" | grep -E "^(#[0-9]+.*(INITED|DONE|pulse)|stat::|==|SUMMARY|thread)" || true
if grep -qE "^SUMMARY: (libFuzzer|Addr)|panicked at" "$folder/log"; then
  echo "a reader failed; the input is in $folder/crash-*"
  exit 1
fi
echo "no reader failed in $seconds s"
