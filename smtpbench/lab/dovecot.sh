# Dovecot, for private_root.sh.
programs='dovecot /usr/lib/dovecot/lmtp /usr/lib/dovecot/imap /usr/lib/dovecot/pop3'
packages='dovecot-core dovecot-lmtpd dovecot-imapd dovecot-pop3d'

configure() {
    install -m 644 "$folder/dovecot.conf" "$root/etc/dovecot/"
    install -m 600 "$folder/server.pem" "$root/etc/dovecot/"
    inside install -m 640 -o root -g dovecot /var/smtpbench/users /etc/dovecot/users
    chown -R 65534:65534 "$folder/mail"
}

start() { inside dovecot -F & }
about() { printf '{"version": "%s"}\n' "$(inside dovecot --version | cut -d ' ' -f 1)"; }
finish() { inside timeout 10 doveadm stop || true; }
