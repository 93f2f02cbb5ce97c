#!/bin/sh
# Install Debian packages if this user may: as root, or with a sudo that asks no password.
set -eu
command -v apt-get >/dev/null || exit 1
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || exit 1
    as_root="sudo -n"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing Debian packages: $*"
$as_root apt-get install -y -qq "$@" >/dev/null 2>&1 ||
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq "$@" >/dev/null; }
