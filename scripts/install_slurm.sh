#!/bin/sh
# Installs what tests/cluster starts: SLURM's daemons and munge, from Debian's packages.
# Exit code 3: SLURM cannot be installed on this kind of machine.
PATH="$PATH:/usr/sbin:/sbin"
packages="slurmctld slurmd slurm-client munge"
refuse() {
    echo "SLURM cannot be installed here: $1. The tests on a cluster need Debian or Ubuntu, root," \
        "and: apt-get install $packages" >&2
    exit 3
}

[ "$(id -u)" -eq 0 ] || refuse "you are not root"
unshare --net --uts --mount --pid --fork true 2> /dev/null || refuse "this container may not create namespaces"
for program in slurmctld slurmd sbatch srun munged; do
    command -v "$program" > /dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
command -v apt-get > /dev/null || refuse "there is no apt-get"
echo "installing SLURM ($packages)"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq < /dev/null > /dev/null &&
    apt-get install -y -qq --no-install-recommends $packages iproute2 < /dev/null > /dev/null || {
    echo "apt-get could not install $packages: see its words above" >&2
    exit 1
}
