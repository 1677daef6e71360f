#!/bin/sh
# A server in a private root. Usage: private_root.sh FOLDER CACHE RECIPE, as root.
#
# Started by `lab/private_root.py`, which has put the server's configuration, server.pem, password and
# mail/ into FOLDER. Says one line of JSON when the server has been started, and one after each line that is
# `kill` (all its processes have been sent SIGKILL, at once) or `start` (it has been started again). Stops on
# any other line or the end of standard input, and leaves nothing behind, whoever is killed: all of it is in a mount namespace and a
# process namespace whose first process is the script below.
#
# RECIPE is a shell file about one server. It sets `programs` (which are in PATH where the server is
# installed) and `packages`, and defines `configure`, `start` (returns while the server runs in the
# background), `about` (the line of JSON) and `finish`, and `preseed` if debconf has to be told something.
# They have: $folder, $root, and `inside COMMAND…`, which runs in the root, where FOLDER is /var/smtpbench.
set -eu
folder=$1 cache=$2 recipe=$3

if [ "${4-}" != inside ]; then
    # `--kill-child`: if unshare is killed, so is all that is inside. Out here no mount is to be seen, so
    # that removing the folder cannot reach through one.
    code=0
    unshare --mount --pid --fork --kill-child --propagation private -- sh "$0" "$folder" "$cache" "$recipe" inside || code=$?
    rm -rf -- "$folder"
    exit "$code"
fi

exec 3>&1 1>&2  # what tools say goes to the log; 3 is for our one line

# The host's root, read-only below a layer in memory. The mail folder is the host's own.
space=$folder/space
mkdir "$space"
mount -t tmpfs -o mode=755 smtpbench "$space"
mkdir "$space/upper" "$space/work" "$space/root"
mount -t overlay -o "lowerdir=/,upperdir=$space/upper,workdir=$space/work" smtpbench "$space/root"
root=$space/root
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mkdir -p "$root/var/smtpbench" "$root/var/cache/apt/archives/partial" "$cache"
mount --bind "$folder" "$root/var/smtpbench"
mount --bind "$cache" "$root/var/cache/apt/archives"
mkdir -p "$cache/partial"

inside() { chroot "$root" /usr/bin/env -i DEBIAN_FRONTEND=noninteractive LC_ALL=C \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
have() {
    for program; do inside sh -c "command -v $program" >/dev/null || return 1; done
}

install_cached() {
    set -- "$root"/var/cache/apt/archives/*.deb
    [ -e "$1" ] || return 1
    inside sh -c 'dpkg --force-confnew --force-unsafe-io -i /var/cache/apt/archives/*.deb'
}
install_fetched() {
    rm -f "$root"/var/cache/apt/archives/*.deb
    inside apt-get -qq update
    # shellcheck disable=SC2086 # a list
    inside apt-get -qq -y --no-install-recommends -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root \
        -o Dpkg::Options::=--force-unsafe-io install $packages
}

preseed() { :; }
# shellcheck source=/dev/null # one of several
. "$recipe"

# shellcheck disable=SC2086 # a list
if ! have $programs; then
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"  # no package may start a service
    chmod 755 "$root/usr/sbin/policy-rc.d"
    rm -f "$root/var/lib/man-db/auto-update"  # no index of manual pages
    preseed
    install_cached || install_fetched
fi

configure
start
about >&3
while read -r order; do
    case $order in
        kill)
            kill -s KILL -- -1 || true  # everybody in this namespace but its first process, which we are
            echo '{"killed": true}' >&3
            ;;
        start)
            wait || true  # for those that were killed
            start 3>&-
            echo '{"started": true}' >&3
            ;;
        *) break ;;
    esac
done
exec 3>&-
finish || true
