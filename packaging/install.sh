#!/bin/sh
# Installs what `cargo build --release` made: binaries, manual pages, completions and systemd units.
#
#   packaging/install.sh              below PREFIX (/usr/local); DESTDIR is put before it for packages
#   packaging/install.sh --uninstall  takes the same files away again; data and settings stay
#
# Nothing is started: the last lines say how.
set -eu
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
destdir=${DESTDIR:-}
binaries=${CARGO_TARGET_DIR:-target}/release
units=$destdir/etc/systemd/system
programs="ruche-master ruche-slave ruche ruche-gui"

# A folder for a package is made first: what does not exist yet is writable to nobody.
if [ -n "$destdir" ]; then mkdir -p "$destdir"; fi
if [ ! -w "${destdir:-/}" ] && [ "$(id -u)" != 0 ]; then
    echo "install: needs root to write below ${destdir:-}$prefix; run: sudo PREFIX=$prefix packaging/install.sh" >&2
    exit 1
fi

if [ "${1:-}" = --uninstall ]; then
    for program in $programs; do
        rm -f "$destdir$prefix/bin/$program" "$destdir$prefix/share/man/man1/$program.1" \
            "$destdir$prefix/share/bash-completion/completions/$program"
    done
    rm -f "$units/ruche-master.service" "$units/ruche-slave.service"
    echo "install: removed; data stays in /var/lib/ruche-master and /var/lib/ruche-slave, settings in /etc/ruche"
    exit 0
fi

for program in $programs; do
    if [ -x "$binaries/$program" ]; then
        install -D -m 755 "$binaries/$program" "$destdir$prefix/bin/$program"
        mkdir -p "$destdir$prefix/share/bash-completion/completions"
        "$binaries/$program" completions bash >"$destdir$prefix/share/bash-completion/completions/$program"
        if [ -e "packaging/man/$program.1" ]; then
            install -D -m 644 "packaging/man/$program.1" "$destdir$prefix/share/man/man1/$program.1"
        fi
        echo "install: $prefix/bin/$program"
    elif [ "$program" = ruche-gui ]; then
        echo "install: without the window; for it run first: cargo build --release -p client-gui"
    else
        echo "install: $binaries/$program is missing; run first: make install" >&2
        exit 1
    fi
done

mkdir -p "$units" "$destdir/etc/ruche"
for unit in ruche-master ruche-slave; do
    sed "s|@PREFIX@|$prefix|" "packaging/systemd/$unit.service" >"$units/$unit.service"
    chmod 644 "$units/$unit.service"
done
if [ -z "$destdir" ]; then
    if ! id ruche >/dev/null 2>&1; then
        useradd --system --home-dir /var/lib/ruche-master --no-create-home --shell /usr/sbin/nologin ruche
    fi
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
fi

cat <<END
install: done. On the master's host:
  echo 'OPTIONS=--listen 0.0.0.0:7420' >/etc/ruche/master.env
  systemctl enable --now ruche-master
On each slave's host, with a join string from the master:
  RUCHE_JOIN=STRING ruche-slave run --data /var/lib/ruche-slave   # once, until it says "connected"; then Ctrl-C
  systemctl enable --now ruche-slave
END
