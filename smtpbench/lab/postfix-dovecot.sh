# Postfix and Dovecot in one root, for private_root.sh: submission, LMTP, and the mailbox over IMAP and POP3.
programs='postfix dovecot /usr/lib/dovecot/lmtp /usr/lib/dovecot/imap /usr/lib/dovecot/pop3'
packages='postfix dovecot-core dovecot-lmtpd dovecot-imapd dovecot-pop3d'

preseed() { printf 'postfix postfix/main_mailer_type select No configuration\n' | inside debconf-set-selections; }

configure() {
    install -m 644 "$folder/main.cf" "$folder/master.cf" "$root/etc/postfix/"
    install -m 600 "$folder/server.pem" "$root/etc/postfix/"
    install -m 644 "$folder/dovecot.conf" "$root/etc/dovecot/"
    install -m 600 "$folder/server.pem" "$root/etc/dovecot/"
    inside install -m 640 -o root -g dovecot /var/smtpbench/users /etc/dovecot/users
    chown -R 65534:65534 "$folder/mail"
}

start() {
    inside dovecot -F &
    inside postfix start-fg &
}
about() {
    printf '{"version": "%s", "dovecot": "%s"}\n' "$(inside postconf -h mail_version)" \
        "$(inside dovecot --version | cut -d ' ' -f 1)"
}
finish() {
    inside timeout 10 postfix stop || true
    inside timeout 10 doveadm stop || true
}
