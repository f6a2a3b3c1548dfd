# What the scripts beside this one share. They source it from the top of the repository.

export CARGO_TERM_COLOR=never RUST_BACKTRACE=1

step() { printf '\n== %s (after %ss)\n' "$*" "$SECONDS"; }

# Debian packages that are missing, by name.
need() {
    local missing=()
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
}

# Debian's compiler brings the standard library's source, and builds it for any target: packages rustc-web, cargo-web
# and rust-web-src.
debian() {
    PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_DIR=target/debian /usr/bin/cargo "$@"
}
