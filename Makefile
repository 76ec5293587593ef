# Thin: every target is one or two commands that can be typed by hand.
#   make run  [ARGS="video.mp4"]      the window (installs what is missing, builds, opens the sample clip)
#   make test                         every test, no GPU, no downloads
.PHONY: run test lint bench parity

run:
	@.ci/prepare
	cargo run --release --quiet -- $(or $(ARGS),assets/sample.mp4)

test:
	@.ci/prepare test
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run; else cargo test; fi

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings

# Every numeric case of a folder against our networks: make parity FIXTURES=tests/fixtures
parity:
	@.ci/prepare
	cargo run --quiet -- parity $(FIXTURES)

bench:
	cargo run --release --quiet -- bench
