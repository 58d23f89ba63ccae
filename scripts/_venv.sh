# shellcheck shell=bash
# Sourced by scripts/demo and scripts/test: a virtual environment with this package in it, made once and renewed when
# setup.cfg changes. The interpreter is $PYTHON, or else the first of python3, python3.13 ... python3.11 that fits.

fail() {
    printf '%s: %s\n' "scripts/$(basename "$0")" "$*" >&2
    exit 1
}

# A Python with the standard library's venv, of a version for which TensorFlow publishes wheels.
find_python() {
    local candidate found="" version
    local -a candidates=(python3 python3.13 python3.12 python3.11)
    if [[ -n "${PYTHON:-}" ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
            printf '%s\n' "$candidate"
            return
        fi
        found+=" $candidate is $version;"
    done
    fail "needs Python 3.11, 3.12 or 3.13 (TensorFlow has no wheels for others)." \
        "Found:${found:- no Python at all: tried ${candidates[*]};} install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# What an environment was made from; it is renewed when any of this changes.
fingerprint() {
    "$1" - "${@:2}" <<'PYTHON_CODE'
import hashlib, pathlib, sys
parts = [str(pathlib.Path.cwd()), *sys.argv[1:]]
parts += [pathlib.Path(name).read_text() for name in ("setup.cfg", "setup.py")]
print(hashlib.sha256("\0".join(parts).encode()).hexdigest())
PYTHON_CODE
}

# pip_install VENV ARGUMENT...: pip with one line of progress on a terminal, and silence elsewhere. What pip writes,
# warnings included, is shown only if it fails.
pip_install() {
    local venv=$1 messages count=0 line
    shift
    messages=$(mktemp)
    # Named by its interpreter: the first line of venv/bin/pip may name another environment, if this one is a copy.
    if "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@" 2>&1 | tee "$messages" |
        while IFS= read -r line; do
            if [[ -t 2 && "$line" =~ ^(Collecting|Installing|Obtaining)\ ([^\ ]+) ]]; then
                count=$((count + 1))
                printf '\r   %3d  %-12s %-50.50s' "$count" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" >&2
            fi
        done; then # pipefail, which both scripts set, makes this pip's own status
        if [[ -t 2 ]]; then printf '\r%-70s\r' '' >&2; fi
        rm -f "$messages"
        return
    fi
    cat "$messages" >&2
    rm -f "$messages"
    return 1
}

# ensure_venv DIR EXTRAS [PIP ARGUMENT...]: DIR holds this package, editable, with EXTRAS ("" or "[dev]").
# An environment with [dev] serves if no extra is asked for.
ensure_venv() {
    local venv=$1 extras=$2 python stamp
    shift 2
    stamp="$venv/.ckptkit-installed"
    if [[ ! -x "$venv/bin/python" ]] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        printf '== making %s with %s\n' "$venv" "$("$python" --version)"
        "$python" -m venv --clear "$venv" || fail "$python could not make $venv. On Debian and Ubuntu: apt install python3-venv"
    fi
    local wanted full
    wanted=$(fingerprint "$venv/bin/python" "$extras" "$@")
    full=$(fingerprint "$venv/bin/python" "[dev]" "$@")
    if [[ -f "$stamp" ]] && grep -qxF -e "$wanted" -e "$full" "$stamp"; then return; fi
    printf '== installing ckptkit%s into %s (TensorFlow is large: the first time takes minutes)\n' "$extras" "$venv"
    rm -f "$stamp"
    pip_install "$venv" --editable ".$extras" "$@" || fail "pip could not install ckptkit$extras into $venv; its message is above"
    printf '%s\n' "$wanted" >"$stamp"
}

# Quiet, and the same on machines with and without a GPU.
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
export CUDA_VISIBLE_DEVICES=""
export KERAS_BACKEND=tensorflow
