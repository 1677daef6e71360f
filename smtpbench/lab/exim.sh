# Exim, for private_root.sh.
programs=exim4
packages=exim4-daemon-light

configure() {
    install -m 644 "$folder/exim4.conf" "$root/etc/exim4/"  # goes before the one that Debian generates
    inside install -m 640 -o root -g Debian-exim /var/smtpbench/server.pem /var/smtpbench/password /etc/exim4/
    mkdir "$folder/exim"
    inside chown Debian-exim:adm /var/smtpbench/exim  # Exim writes its logs as its own user
    chown -R 65534:65534 "$folder/mail"
}

start() {
    inside exim4 -bdf -q2s &
    exim=$!
}
about() { printf '{"version": "%s"}\n' "$(inside exim4 -bV | sed -n 's/^Exim version \([^ ]*\).*/\1/p')"; }
finish() { kill "$exim" || true; }
