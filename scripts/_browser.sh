# shellcheck shell=bash
# Sourced by scripts/test: the browser in which the tests look at reports. Chromium and its driver come from the distribution, so that both
# are of one version; nothing is fetched from elsewhere.

# ensure_browser: installs them if they are missing and this is root on Debian or Ubuntu. Otherwise the tests that need a
# browser are skipped, and say so; all others run.
ensure_browser() {
    if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then return; fi
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        printf '== no chromium and chromedriver here: tests that need a browser are skipped. On Debian: apt install chromium chromium-driver\n'
        return
    fi
    local said
    said=$(mktemp)
    printf '== installing chromium and its driver\n'
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium chromium-driver; } >"$said" 2>&1; then
        tail -n 5 "$said"
        printf '== chromium could not be installed: tests that need a browser are skipped\n'
    fi
    rm -f "$said"
}
