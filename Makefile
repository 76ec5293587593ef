# Thin: every target is one or two commands that can be typed by hand.
#   make run  [ARGS="video.mp4"]      the window (installs what is missing, builds, opens the sample clip)
#   make test                         every test, no GPU, no downloads
.PHONY: run test lint bench peer parity cuda

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
# On a GPU, after make cuda: make parity FIXTURES=tests/fixtures DEVICE=cuda
parity:
ifeq ($(or $(DEVICE),cpu),cpu)
	@.ci/prepare
	cargo run --quiet -- parity $(FIXTURES)
else
	target/release/sparrow$(if $(filter cuda,$(DEVICE)),-cuda) parity $(FIXTURES) --device $(DEVICE)
endif

# For NVIDIA GPUs, without window and FFmpeg. Independent of the tests: needs a CUDA toolkit, or ARGS=--fetch.
cuda:
	@.ci/cuda $(ARGS)

bench:
	cargo run --release --quiet -- bench

# The same sizes through PyTorch in the same run: make peer ARGS="--sizes released-layers --threads 2"
# On a GPU, after make cuda, a phrase on 64 frames from pixels to masks at full released size: make peer DEVICE=cuda
peer:
ifeq ($(or $(DEVICE),cpu),cpu)
	cargo build --release --quiet
	python3 tests/bench/peer.py $(ARGS)
else
	python3 tests/bench/peer.py --sparrow target/release/sparrow-cuda --device $(DEVICE) --precision f16 --sizes released --end-to-end $(ARGS)
endif
