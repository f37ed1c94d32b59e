# What the commands in bin/ share. Sourced, not run.

set -euo pipefail
# Named from where the caller stands.
if [[ -n ${DATABUS_BINARY:-} ]]; then
  DATABUS_BINARY=$(realpath "$DATABUS_BINARY")
  export DATABUS_BINARY
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
export LC_ALL=C.UTF-8

# Colour only where a person looks at it, and not against their wish.
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi

say() { printf '%s\n' "$*"; }
heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() {
  printf '%s%s%s\n' "$red" "$1" "$plain" >&2
  exit "${2:-1}"
}

# Shows the comment at the top of a command as its help.
show_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# What the build needs, with Debian's names: adds each missing package to `missing`.
missing=()
find_missing_for_build() {
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  # The toolchain's clang takes the C++ library and the linker from the system.
  command -v g++ >/dev/null || missing+=(g++)
  # SwiftPM asks git about every package.
  command -v git >/dev/null || missing+=(git)
  local library
  while read -r library package; do
    pkg-config --exists "$library" 2>/dev/null || missing+=("$package")
  done <<<'simdjson libsimdjson-dev
sqlite3 libsqlite3-dev
hiredis libhiredis-dev
libcrypto libssl-dev
rdkafka librdkafka-dev
libmicrohttpd libmicrohttpd-dev
libcurl libcurl4-openssl-dev'
  find_missing_for_toolchain
}

# What the toolchain's own programs are linked with, where it was unpacked without them.
find_missing_for_toolchain() {
  local programs loads library package
  command -v swift >/dev/null || return 0
  programs=$(dirname "$(readlink -f "$(command -v swift)")")
  loads=$(ldd "$programs"/swift-{frontend,build,test,format} 2>/dev/null || true)
  while read -r library package; do
    if grep -q -F "$library => not found" <<<"$loads"; then missing+=("$package"); fi
  done <<<'libncurses.so.6 libncurses6
libcurl.so.4 libcurl4
libxml2.so.2 libxml2
libsqlite3.so.0 libsqlite3-0
libedit.so.2 libedit2
libz3.so.4 libz3-4'
}

# Tests also run other processes.
find_missing_for_tests() {
  command -v python3 >/dev/null || missing+=(python3)
  # The documentation's commands ask the admin pages.
  command -v curl >/dev/null || missing+=(curl)
  # Certificates for a broker with TLS.
  command -v openssl >/dev/null || missing+=(openssl)
  /usr/bin/python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml)
  # Each test starts a server of its own; a service that the package starts is not used.
  command -v redis-server >/dev/null || missing+=(redis-server)
}

# Root: installs what is missing. Anybody else: says what to type and ends with 2.
install_missing() {
  if [[ ${#missing[@]} -gt 0 ]]; then
    if ! command -v apt-get >/dev/null; then
      fail "These Debian packages, or what your system calls them, are missing: ${missing[*]}" 2
    fi
    if [[ $(id -u) -ne 0 ]]; then
      say "These packages are missing. Install them, then start $0 again:" >&2
      say "    sudo apt-get install -y ${missing[*]}" >&2
      exit 2
    fi
    say "Installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! {
      apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      fail "apt-get failed: what it said stands above" 2
    fi
    rm -f "$log"
  fi
  if ! command -v swift >/dev/null; then
    fail "There is no 'swift' on the PATH. Install Swift 6.1 or later: https://www.swift.org/install/linux/" 2
  fi
  local version
  version=$(swift --version 2>&1) || fail "'swift --version' fails:
$version
    The toolchain lacks libraries of the system: https://www.swift.org/install/linux/ lists them." 2
}

# run_quietly "Building the router" COMMAND ...: one line with the time it took; all of the output where it fails.
run_quietly() {
  local what=$1 log start=$SECONDS pid status=0
  shift
  log=$(mktemp)
  if [[ -t 1 ]]; then
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
      # The compiler's own last word, so that one sees it move.
      printf '\r\e[K%s %s%s%s' "$what" "$dim" "$(tail -n 1 "$log" | tr -d '\r' | cut -c1-60)" "$plain"
      read -r -t 0.5 <> <(:) || true
    done
    wait "$pid" || status=$?
    printf '\r\e[K'
  else
    say "$what ..."
    "$@" >"$log" 2>&1 || status=$?
  fi
  if [[ $status -ne 0 ]]; then
    cat "$log" >&2
    rm -f "$log"
    fail "$what: failed. Its output stands above."
  fi
  rm -f "$log"
  say "$what: $((SECONDS - start)) s"
}

# The binary of a release build, without any Swift library to find at run time.
release_binary() { say "$root/.build/release/databus"; }
build_release() {
  run_quietly "Building databus in release" \
    swift build -c release --product databus --static-swift-stdlib --scratch-path .build
}
