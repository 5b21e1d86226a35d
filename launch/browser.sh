#!/usr/bin/env bash
# See that a headless Chromium and its driver are here, for the test that opens the report; install the system's where we may.
set -euo pipefail
have() { command -v "$1" >/dev/null; }
ready() { have chromedriver && { have chromium || have chromium-browser || have google-chrome; }; }

if ready; then exit 0; fi
if [[ $(id -u) -eq 0 ]] && have apt-get; then
  echo "browser: installing chromium and chromium-driver with apt-get"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium chromium-driver >/dev/null
fi
ready || { echo "error: the browser test needs Chromium (or Chrome) and chromedriver; install them (Debian: apt-get install chromium chromium-driver) and try again" >&2; exit 1; }
