# OpenSMTPD, for private_root.sh.
programs=smtpctl
packages=opensmtpd

configure() {
    install -m 644 "$folder/smtpd.conf" "$root/etc/"
    chown -R 65534:65534 "$folder/mail"
}

start() {
    inside smtpd -d &  # its log goes to standard error
    smtpd=$!
}
about() { printf '{"version": "%s"}\n' "$(inside smtpd -h 2>&1 | sed -n 's/^version: OpenSMTPD //p')"; }
finish() { kill "$smtpd" || true; }
