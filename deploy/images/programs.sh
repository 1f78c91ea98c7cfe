#!/bin/sh
# Compiles the programs of the images into a folder: sh deploy/images/programs.sh FOLDER [PROGRAM ...]
# The same source and toolchain give the same bytes in every folder: no path of the machine gets in.
set -eu
out=$1
shift
[ $# -gt 0 ] || set -- policy-watcher policy-operator policy-webhook policyctl
cd "$(dirname "$0")/../.."

machine=$(uname -m)
target=$machine-unknown-linux-musl
cargo_home=${CARGO_HOME:-$HOME/.cargo}
folder=${CARGO_TARGET_DIR:-$PWD/target}

# The flags are separated by this byte, because a path may hold a space.
separator=$(printf '\037')
CARGO_ENCODED_RUSTFLAGS=--remap-path-prefix=$PWD=/src$separator--remap-path-prefix=$cargo_home=/cargo
export CARGO_ENCODED_RUSTFLAGS
export TARGET_CC=musl-gcc
# jemalloc refuses to run where pages are larger than where it was compiled: on ARM up to 64 KiB.
[ "$machine" != aarch64 ] || export JEMALLOC_SYS_WITH_LG_PAGE=16

for program; do
  set -- "$@" --package "$program"
  shift
done
cargo auditable build --locked --release --target "$target" --target-dir "$folder" "$@"

mkdir -p "$out"
while [ $# -gt 0 ]; do
  install -m 755 "$folder/$target/release/$2" "$out/$2"
  shift 2
done
