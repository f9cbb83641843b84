# The root of every host: Debian 12 with systemd and cloud-init, as a cloud's image has them,
# and python3, but neither pip, uv nor venv: what bigmachine needs beyond, it has to bring.
#
#   image.sh FOLDER
#       Build it there, by apt, from this machine's own apt sources.
#
# Whatever is written here is part of the recipe: an edit builds a new image.

set -eu
root=$1

for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$source" ] || set -- "$@" "$source"
done
shift

mmdebstrap --mode=root --variant=minbase \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=systemd,systemd-sysv,dbus,udev,kmod,login,passwd,procps,sudo \
    --include=ca-certificates,netbase,iproute2,isc-dhcp-client \
    --include=python3,cloud-init,google-guest-agent \
    bookworm "$root" "$@"

cd "$root"
mkdir -p etc/systemd/system-preset

# Its network is there before it boots, so that these would only wait for each other: two minutes.
mask() {
    for unit; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
}
mask systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service
# There is no terminal to log in at, and nothing may run of its own accord while a test does.
mask getty.target console-getty.service systemd-firstboot.service systemd-timesyncd.service
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
mask e2scrub_reap.service fstrim.timer

# Google's agent is for Google's hosts, which ask for it. Its package has it run wherever it
# is, by links or, at the first boot, by a preset: which of them depends on apt's order.
rm -f etc/systemd/system/multi-user.target.wants/google-*
echo 'disable google-*' >etc/systemd/system-preset/00-box.preset

# Each host gets an identity of its own, none of this machine's.
rm -f etc/hostname
echo uninitialized >etc/machine-id

# A resolver that refuses at once. One that can't be reached costs cloud-init 30 s.
rm -f etc/resolv.conf
echo 'nameserver 127.0.0.1' >etc/resolv.conf

# cloud-init 22.4 doesn't know a new kernel's words for an address that is there already.
sed -i 's/"File exists"/"already assigned"/' usr/lib/python3/dist-packages/cloudinit/net/ephemeral.py

# What a cloud's image has too, less what takes time and changes nothing for us.
cat >etc/cloud/cloud.cfg.d/90_box.cfg <<'END'
network: {config: disabled}
locale: C.UTF-8
manage_etc_hosts: true
apt: {preserve_sources_list: true}
grub_dpkg: {enabled: false}
END
rm -rf var/lib/cloud var/cache/apt/*.bin var/lib/apt/lists
mkdir var/lib/cloud
