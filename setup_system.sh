#!/usr/bin/env bash
# The shared libraries that the OpenCV wheel opens. Installed when run as root, else named in one line.
set -euo pipefail
missing=()
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
# Not a pipe: grep ends at the first match, and with pipefail the broken pipe would count as "missing".
libraries=$("$ldconfig" -p)
grep -q 'libGL\.so\.1' <<<"$libraries" || missing+=(libgl1)
grep -q 'libglib-2\.0\.so\.0' <<<"$libraries" || missing+=(libglib2.0-0)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}"
else
    echo "Please run: sudo apt-get install -y ${missing[*]}" >&2
    exit 2
fi
