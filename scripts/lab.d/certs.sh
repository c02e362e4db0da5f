# Certificates of the lab: the TPM manufacturer's, and with `--certs self` those of plain libvirt's migration TLS.
# Sourced by scripts/lab.

# openssl, quiet unless it fails.
run_openssl() {
  local output
  output=$(openssl "$@" 2>&1) || die "openssl $1: $output"
}

# The CA that signs the EK certificates of the hosts' TPMs, as swtpm's certificate tool wants it.
make_tpm_manufacturer() {
  local ca=$LAB/tpm-ca
  mkdir -p "$ca" "$LAB/tpm-roots"
  run_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -sha384 -days 7300 \
    -subj "/O=TVMMP lab/CN=Lab TPM manufacturer root" -keyout "$ca/signkey.pem" -out "$ca/root.pem" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
  cp "$ca/root.pem" "$LAB/tpm-roots/root.pem"
  cat >"$ca/localca.conf" <<CONF
statedir = $ca
signingkey = $ca/signkey.pem
issuercert = $ca/root.pem
certserial = $ca/certserial
CONF
  cat >"$ca/localca.options" <<'CONF'
--tpm-manufacturer id:00001014
--tpm-model swtpm
--tpm-version 2
--platform-manufacturer TVMMP-lab
--platform-version 1
--platform-model host
CONF
  cat >"$ca/setup.conf" <<CONF
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $ca/localca.conf
create_certs_tool_options = $ca/localca.options
active_pcr_banks = sha256
CONF
  printf '1\n' >"$ca/certserial"
}

# RSA-2048 and ECC P-384 endorsement keys, their certificates in the TPM's NV memory (TCG EK Credential Profile 2.2.1.4).
manufacture_tpm() {
  local host=$LAB/hosts/$1 output
  output=$(swtpm_setup --tpm2 --tpmstate "$host/tpm" --config "$LAB/tpm-ca/setup.conf" --vmid "$LAB_NAME-$1" \
    --create-ek-cert --create-platform-cert --lock-nvram 2>&1) || die "swtpm_setup: $output"
}

# What QEMU's TLS wants in migrate_tls_x509_cert_dir: one ECDSA certificate for both directions.
make_migration_certificates() {
  local ca=$LAB/migration-ca name tls
  mkdir -p "$ca"
  run_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj '/CN=Lab migration CA' \
    -keyout "$ca/key.pem" -out "$ca/cert.pem" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign'
  for name; do
    tls=$LAB/hosts/$name/fs/etc-tvmmp/migration-tls
    mkdir -p "$tls"
    run_openssl req -x509 -CA "$ca/cert.pem" -CAkey "$ca/key.pem" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
      -days 365 -subj "/CN=$name" -keyout "$tls/server-key.pem" -out "$tls/server-cert.pem" \
      -addext 'basicConstraints=critical,CA:FALSE' -addext 'keyUsage=digitalSignature,keyEncipherment' \
      -addext 'extendedKeyUsage=serverAuth,clientAuth' \
      -addext "subjectAltName=DNS:$name,IP:$(<"$LAB/hosts/$name/address")"
    cp "$ca/cert.pem" "$tls/ca-cert.pem"
    cp "$tls/server-cert.pem" "$tls/client-cert.pem"
    cp "$tls/server-key.pem" "$tls/client-key.pem"
    chmod 600 "$tls"/*-key.pem
  done
}
