#!/bin/bash
# Creates what compose.yaml needs in the folder zone: certificates, passwords and settings. Run it once, as root, because
# the files of each container must belong to its user. The folder is created beside this script, or in the folder $1.
set -euo pipefail
umask 077
cd "${1:-$(dirname "$0")}"
[ ! -e zone ] || { echo "The folder zone exists already." >&2; exit 1; }
mkdir -p zone/{secrets,server,crypto,postgres,objects}
cd zone

sealyard=10001 postgres=999
give() {  # give UID FILE...: only needed, and only possible, as root
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then chown -R "$user" "$@"; fi
}
password() { openssl rand -hex 24; }

# ---- certificates, of an authority that issues no others
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=Sealyard Compose' \
    -keyout ca.key -out ca.pem 2> /dev/null
certify() {  # certify NAME KEY CERTIFICATE
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$2" -out request.pem 2> /dev/null
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -out "$3" \
        -extfile <(printf 'subjectAltName=DNS:%s,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth' "$1") 2> /dev/null
    rm request.pem
}
certify server1 server/server1.key server/server1.pem
certify server2 server/server2.key server/server2.pem
certify postgres postgres/postgres.key postgres/postgres.pem
certify objects objects/private.key objects/public.crt
for folder in server crypto; do cp ca.pem "$folder/ca.pem"; done

# ---- passwords
owner=$(password) server=$(password) crypto=$(password) objects=$(password)
password > secrets/postgres-password
password > secrets/server-passphrase
password > secrets/crypto-passphrase
printf sealyard > secrets/objects-user
printf '%s' "$objects" > secrets/objects-password
printf '[default]\naws_access_key_id = sealyard\naws_secret_access_key = %s\n' "$objects" > secrets/s3-credentials
printf 'postgres:5432:*:sealyard_owner:%s\n' "$owner" > secrets/pgpass-owner
printf 'postgres:5432:*:sealyard_server:%s\n' "$server" > secrets/pgpass-server
printf 'postgres:5432:*:sealyard_crypto:%s\n' "$crypto" > secrets/pgpass-crypto
for role in owner server crypto; do
    printf "ALTER ROLE sealyard_%s PASSWORD '%s';\n" "$role" "${!role}"
done > postgres/passwords.sql

# ---- settings
service() {  # service NAME DATABASE USER
    printf '[%s]\nhost=postgres\ndbname=%s\nuser=%s\nsslmode=verify-full\nsslrootcert=/etc/sealyard/ca.pem\n\n' "$@"
}
{
    service sealyard-owner sealyard sealyard_owner
    service sealyard-bus-owner sealyard_bus sealyard_owner
    service sealyard sealyard sealyard_server
    service sealyard-bus sealyard_bus sealyard_server
} > server/pg_service.conf
service sealyard-bus sealyard_bus sealyard_crypto > crypto/pg_service.conf

cat > postgres/pg_hba.conf << 'END'
local   all                   postgres                       trust
hostssl sealyard,sealyard_bus sealyard_owner,sealyard_server samenet scram-sha-256
hostssl sealyard_bus          sealyard_crypto                samenet scram-sha-256
END

for name in server1 server2; do
    cat > "server/$name.toml" << END
listen = "0.0.0.0:8750"
tls_certificate = "/etc/sealyard/$name.pem"
tls_key = "/etc/sealyard/$name.key"

[tenants]
yard = "/var/lib/sealyard/yard"

[anchors]
yard = "/var/lib/sealyard-anchors"

[cluster]
url = "https://$name:8751"
listen = "0.0.0.0:8751"
certificate = "/etc/sealyard/$name.pem"
key = "/etc/sealyard/$name.key"
ca = "/etc/sealyard/ca.pem"
END
done

give "$sealyard" server crypto secrets
give "$postgres" postgres secrets/postgres-password
echo "Created the folder zone. Keep zone/ca.key off the machine once you have all certificates."
