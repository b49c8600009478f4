#!/bin/sh
# Installs what the tests use beside Go, from Debian's packages where this is
# Debian and the user may; otherwise it names what is missing and fails.
set -eu

missing=""
packages=""
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || { missing="$missing $1"; packages="$packages $2"; }
}
look() {
	missing="" packages=""
	need gcc gcc # the race detector is the only thing that wants a C compiler
	need git git
	need curl curl
	need node nodejs
	need npm npm
	# the packages of testdata/interop run from Node 20 on
	! command -v node >/dev/null 2>&1 || node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { missing="$missing node-20"; packages="$packages nodejs"; }
	need chromium chromium
	command -v valkey-server >/dev/null 2>&1 || need redis-server redis-server
	need javac default-jdk-headless # with java and keytool
	# of mono-complete, what the client in C# needs
	need mcs mono-mcs
	need mono mono-runtime
	need cert-sync ca-certificates-mono
	gacutil -l System.Net.Http 2>/dev/null | grep -q '^System\.Net\.Http,' || { missing="$missing System.Net.Http"; packages="$packages mono-gac libmono-system-net-http4.0-cil"; }
	need age age
	need sqlite3 sqlite3 # as a foreign program at the database
	need strace strace
	# private servers of the tests: neither runs as a service
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
	[ -x /usr/sbin/pgbouncer ] || need pgbouncer pgbouncer
	[ "$(uname)" != Linux ] || need systemd-analyze systemd # checks deploy's units
	need promtool prometheus # checks deploy's rules
	[ "$(uname)" != Linux ] || [ "$(id -u)" = 0 ] || need fusermount3 fuse3 # for a disk whose power can be cut
	need dbus-daemon dbus-daemon
	need gnome-keyring-daemon gnome-keyring
	# libcrypto of OpenSSL 3, as the loader finds it; ldconfig is outside of some users' path
	[ "$(uname)" != Linux ] || PATH="$PATH:/usr/sbin:/sbin" ldconfig -p | grep -q 'libcrypto\.so\.3 ' || { missing="$missing libcrypto.so.3"; packages="$packages libssl3"; }
	/usr/bin/python3 -c 'import authlib' 2>/dev/null || { missing="$missing python3-authlib"; packages="$packages python3-authlib"; }
	/usr/bin/python3 -c 'import requests' 2>/dev/null || { missing="$missing python3-requests"; packages="$packages python3-requests"; }
}

look
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing:$packages"
	export DEBIAN_FRONTEND=noninteractive
	case $packages in *postgresql*) # installing it is not to make a database and start it
		[ -e /etc/postgresql-common/createcluster.conf ] || { mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf; } ;;
	esac
	# shellcheck disable=SC2086 # a list of packages
	log=$(mktemp)
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } >"$log" 2>&1 || tail -n 5 "$log"
	rm -f "$log"
	look
	[ -n "$missing" ] || exit 0
fi
echo "the tests need, and this machine lacks:$missing" >&2
echo "install the Debian packages (or what your system has instead):$packages" >&2
exit 1
