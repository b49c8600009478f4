#!/bin/sh
# Makes serve-NNNN.tar.gz and up-NNNN.tar.gz by a program whose last migration is
# NNNN: make.sh PROGRAM NNNN. It needs curl, openssl, python3 and sqlite3.
set -eu
program=$(realpath "$1") n=$2 to=$(dirname "$(realpath "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
umask 077
mkdir -p "$dir/serve/tls" && cd "$dir/serve"
openssl rand -base64 32 >master.key
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls/key.pem -out tls/certificate.pem -days 30 \
	-subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
cat >serve.yaml <<END
listen: 127.0.0.1:1844${n#000}
tls:
  certificate: tls/certificate.pem
  key: tls/key.pem
database: counterfoil.db
master_key: file:master.key
realms:
  - name: acme
    provider: oauth2
    hosts: [localhost]
    lifetime: 1h
    scopes:
      - {name: 'orders:read', description: Read orders}
END
for client in billing stopped; do
	"$program" client create acme --serve-config serve.yaml --id $client --scope orders:read -o json >$client.json
done
"$program" serve --config serve.yaml >log 2>&1 &
pid=$!
sleep 3
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
ask() { curl -sk "https://localhost:1844${n#000}/$1" -d "client_id=$2" -d "client_secret=$3" -d "$4"; }
secret=$(field client_secret <billing.json)
for name in token revoked; do ask token billing "$secret" grant_type=client_credentials | field access_token >$name; done
ask token stopped "$(field client_secret <stopped.json)" grant_type=client_credentials | field access_token >stopped.token
ask revoke billing "$secret" "token=$(cat revoked)"
ask token billing wrong grant_type=client_credentials >log
"$program" client disable acme stopped --serve-config serve.yaml >log
date +%s >at
sleep 13 # the next checkpoint
"$program" audit -o json --serve-config serve.yaml >audit.jsonl
"$program" audit verify -o json --serve-config serve.yaml | field key >key || rm key
kill -9 $pid # which leaves a log beside the database
cp counterfoil.db copy.db && cp counterfoil.db-wal copy.db-wal
sqlite3 copy.db 'SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1' >checkpoint.txt || rm checkpoint.txt
rm -rf copy.db* counterfoil.db-shm log tls
tar --sort=name --owner=0 --group=0 -cf - * | gzip -9n >"$to/serve-$n.tar.gz"

cd "$dir"
"$program" up --dir up --listen "127.0.0.1:1855${n#000}" >log 2>&1 &
pid=$!
sleep 5
kill -TERM $pid
wait $pid
# The rows of the APIs would be most of it.
sqlite3 up/counterfoil.db "SELECT 'DROP TABLE ' || name || ';' FROM sqlite_schema WHERE type = 'table' AND (name GLOB 'calendar_*'
	OR name GLOB 'profiles_*' OR name GLOB 'events_*' OR name GLOB 'wallets_*' OR name = 'api_datasets')" | sqlite3 up/counterfoil.db
sqlite3 up/counterfoil.db VACUUM
cd up
rm -rf lock counterfoil.db.limits
tar --sort=name --owner=0 --group=0 -cf - * | gzip -9n >"$to/up-$n.tar.gz"
