#!/bin/sh
# Postfix in a private root. Usage: postfix_root.sh FOLDER CACHE, as root.
#
# Started by `lab/postfix.py`, which has put into FOLDER: main.cf, master.cf, smtpd.conf, password,
# server.pem, mail/. Says one line of JSON when Postfix has been started, stops on a line or the end of
# standard input, and leaves nothing behind, whoever is killed: all of it is in a mount namespace and a
# process namespace whose first process is the script below.
set -eu
folder=$1 cache=$2

if [ "${3-}" != inside ]; then
    # `--kill-child`: if unshare is killed, so is all that is inside. Out here no mount is to be seen, so
    # that removing the folder cannot reach through one.
    code=0
    unshare --mount --pid --fork --kill-child --propagation private -- sh "$0" "$folder" "$cache" inside || code=$?
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

packages='postfix libsasl2-modules libsasl2-modules-db sasl2-bin'

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
have() { inside sh -c "command -v $1" >/dev/null; }
if ! have postfix; then
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"  # no package may start a service
    chmod 755 "$root/usr/sbin/policy-rc.d"
    rm -f "$root/var/lib/man-db/auto-update"  # no index of manual pages
    printf 'postfix postfix/main_mailer_type select No configuration\n' | inside debconf-set-selections
    install_cached || install_fetched
fi

install -m 644 "$folder/main.cf" "$folder/master.cf" "$root/etc/postfix/"
mkdir -p "$root/etc/postfix/sasl"
install -m 644 "$folder/smtpd.conf" "$root/etc/postfix/sasl/"
install -m 600 "$folder/server.pem" "$root/etc/postfix/"
rm -f "$root/etc/sasldb2"
auth=false
if have saslpasswd2; then  # an installed Postfix may be without; then there is no submission
    tr -d '\n' <"$folder/password" | inside saslpasswd2 -p -c -u example.com alice
    inside chown root:postfix /etc/sasldb2
    inside chmod 640 /etc/sasldb2
    auth=true
fi
chown -R 65534:65534 "$folder/mail"

inside postfix start-fg &
printf '{"version": "%s", "auth": %s}\n' "$(inside postconf -h mail_version)" "$auth" >&3
exec 3>&-
read -r _ || true
inside timeout 10 postfix stop || true
