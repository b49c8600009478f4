#!/bin/sh
# Measures what bench/README.md quotes. Every figure stands beside its floor and
# comes from the same run; the median of five is printed.
set -eu
cd "$(dirname "$0")/.."

echo "$(go version), $(nproc) processors, $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
echo
echo "Tokens a second"
echo
go run ./bench/server -only tokens -rounds "${ROUNDS:-5}" -seconds "${SECONDS_EACH:-5}"

echo "From a revocation to its refusal"
echo
go run ./bench/revocation
echo

echo "Guard and client: medians of 5"
echo
go test -run '^$' -bench 'Guard/(floor|known)|SourceToken|Transport' -benchmem -count 5 ./guard ./client | awk '
	/^Benchmark/ {
		name = $1; sub(/-[0-9]+$/, "", name)
		if (!(name in n)) order[++names] = name
		for (i = 3; i < NF; i++) {
			if ($(i+1) == "ns/op") ns[name, ++n[name]] = $i
			if ($(i+1) == "allocs/op") allocs[name] = $i
		}
	}
	END {
		printf "%-36s %10s %10s\n", "", "ns/op", "allocs/op"
		for (k = 1; k <= names; k++) {
			name = order[k]; c = n[name]
			for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++)
				if (ns[name, j] + 0 < ns[name, i] + 0) { t = ns[name, i]; ns[name, i] = ns[name, j]; ns[name, j] = t }
			printf "%-36s %10.1f %10d\n", name, ns[name, int((c + 1) / 2)], allocs[name]
		}
	}'
