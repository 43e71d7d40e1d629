#!/usr/bin/env bash
# The shared libraries that the OpenCV wheel opens. Installed when run as root, else named in one line.
set -euo pipefail
missing=()
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
"$ldconfig" -p | grep -q 'libGL\.so\.1' || missing+=(libgl1)
"$ldconfig" -p | grep -q 'libglib-2\.0\.so\.0' || missing+=(libglib2.0-0)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}"
else
    echo "Please run: sudo apt-get install -y ${missing[*]}" >&2
    exit 2
fi
