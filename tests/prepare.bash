# Sourced by tests/run, tests/bench/run and .ci/run: installs what they need and is missing.

say() { printf '\n== %s\n' "$*" >&2; }

# Installs Debian packages for a command that is missing.
need() {
    local command=$1 packages=("${@:2}")
    command -v "$command" >/dev/null && return
    if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
        echo "$0: '$command' is missing: install the Debian package ${packages[*]}" >&2
        exit 1
    fi
    say "Installing ${packages[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >&2
}

need cc build-essential
need python3 python3
if ! command -v cargo >/dev/null; then
    echo "$0: cargo is missing: see https://rustup.rs" >&2
    exit 1
fi

# Installs Python packages into an environment of their own, anew when the list of them has changed.
packages() {
    local requirements=$1 venv=$2
    cmp -s "$requirements" "$venv/installed.txt" && return
    say "Installing $requirements into $venv"
    rm -rf "$venv"
    if ! python3 -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        need python3-venv python3-venv
        python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
}

venv=tests/.venv
packages tests/python/requirements.txt "$venv"
