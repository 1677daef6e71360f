# Postfix, for private_root.sh.
programs=postfix
packages='postfix libsasl2-modules libsasl2-modules-db sasl2-bin'

preseed() { printf 'postfix postfix/main_mailer_type select No configuration\n' | inside debconf-set-selections; }

auth=false
configure() {
    install -m 644 "$folder/main.cf" "$folder/master.cf" "$root/etc/postfix/"
    mkdir -p "$root/etc/postfix/sasl"
    install -m 644 "$folder/smtpd.conf" "$root/etc/postfix/sasl/"
    install -m 600 "$folder/server.pem" "$root/etc/postfix/"
    rm -f "$root/etc/sasldb2"
    if have saslpasswd2; then  # an installed Postfix may be without; then there is no submission
        tr -d '\n' <"$folder/password" | inside saslpasswd2 -p -c -u example.com alice
        inside chown root:postfix /etc/sasldb2
        inside chmod 640 /etc/sasldb2
        auth=true
    fi
    chown -R 65534:65534 "$folder/mail"
}

start() { inside postfix start-fg & }
about() { printf '{"version": "%s", "auth": %s}\n' "$(inside postconf -h mail_version)" "$auth"; }
finish() { inside timeout 10 postfix stop || true; }
