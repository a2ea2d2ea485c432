#!/bin/sh
# Installs what tests/browser starts: Chromium, from Debian's packages.
# Exit code 3: it cannot be installed on this kind of machine.
refuse() {
    echo "Chromium cannot be installed here: $1. The tests in a browser need Debian or Ubuntu, root," \
        "and: apt-get install chromium" >&2
    exit 3
}

for program in chromium chromium-browser google-chrome; do
    command -v "$program" > /dev/null && exit 0
done
[ "$(id -u)" -eq 0 ] || refuse "you are not root"
command -v apt-get > /dev/null || refuse "there is no apt-get"
echo "installing Chromium"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq < /dev/null > /dev/null &&
    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core < /dev/null > /dev/null || {
    echo "apt-get could not install chromium: see its words above" >&2
    exit 1
}
