#!/bin/sh
# Builds the Worker, also where there is no Rust: Workers Builds, which builds a repository that is connected to Cloudflare, has none.
set -eu
cd "$(dirname "$0")/.."
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
if ! command -v cargo >/dev/null; then
  echo "there is no cargo; installing rustup, and the toolchain of rust-toolchain.toml with it"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path --profile minimal --default-toolchain none
  command -v cargo >/dev/null || { echo "rustup could not be installed; see https://rustup.rs" >&2; exit 1; }
fi
exec cargo xtask worker
