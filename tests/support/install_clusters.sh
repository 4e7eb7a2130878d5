#!/usr/bin/env bash
# Installs what the tests on clusters need, Slurm and iproute2, from the archive of Debian or Ubuntu; `make test` calls it.
# It changes the machine only for root, and says so first. It never fails: what is missing makes tests skip, which say why.
set -uo pipefail
export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive

wanted=()
command -v ip >/dev/null || wanted+=(iproute2)
command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null || wanted+=(slurm-wlm munge)
[ ${#wanted[@]} -eq 0 ] && exit 0

skipped() {
    echo "Tests on clusters will be skipped: ${wanted[*]} not installed ($1)."
    exit 0
}

[ "$(id -u)" -eq 0 ] || skipped "only root can: sudo tests/support/install_clusters.sh"
command -v apt-get >/dev/null || skipped "there is no apt-get"

echo "Installing ${wanted[*]} for the tests on clusters, with apt-get (CLUSTERS=no leaves the machine as it is)."
apt() { # SECONDS WORDS...: each step is bounded, so a machine without a network loses two minutes at most
    local said
    said=$(timeout --kill-after=10 "$1" apt-get -qq -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 \
        -o Acquire::Retries=1 -o DPkg::Lock::Timeout=30 "${@:2}" 2>&1) || skipped "apt-get $2: $(tail -n 1 <<<"$said")"
}
apt 120 update
apt 180 install --yes --no-install-recommends --download-only "${wanted[@]}"
# RUNLEVEL: services that come with the packages are not started here; the tests start their own.
RUNLEVEL=1 apt 300 install --yes --no-install-recommends --no-download "${wanted[@]}"
