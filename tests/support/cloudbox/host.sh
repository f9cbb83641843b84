# One host: a container of systemd-nspawn that ends with its owner.
#
#   host.sh run NAME FABRIC LAYER HOST ADDRESS MAC ROOT BYTES [OPTION...]
#       Boot it from the folder ROOT, with the tar archive LAYER on top and a disk of BYTES;
#       connect it to the network of the process FABRIC as HOST; NAME is its cgroup; OPTIONs
#       are nspawn's. Its console is standard output. It ends when it powers off, or when
#       standard input ends, that is, with its owner.
#
# Only empty cgroups may outlive this process: mounts, network and processes are in namespaces
# without names, and a PID namespace ends with its first process.

set -eu

run() {
    name=$1
    exec 3<&0 4<"/proc/$2/ns/net" 5<"$3"
    trap '' HUP INT TERM PIPE # it ends only as described above
    trap remove_cgroups EXIT
    for_each_hierarchy make_cgroup
    shift 3
    boot "$@" &
    host=$!
    hang_up_with_the_owner &
    watcher=$!
    exec </dev/null 3<&- 4<&- 5<&-
    status=0
    wait $host || status=$?
    kill -9 $watcher
    wait $watcher 2>/dev/null || :
    exit $status
}

boot() {
    exec <&5 3<&- 5<&-
    for_each_hierarchy join_cgroup
    exec setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc \
        sh "$0" inside "$@"
}

hang_up_with_the_owner() {
    exec <&3 >/dev/null 2>&1 3<&- 4<&- 5<&- # the console ends with the host
    read -r _ || :
    kill -9 $host
}

inside() {
    host=$1 address=$2 mac=$3 root=$4 bytes=$5
    shift 5

    ip link set lo up
    ip link add eth0 address "$mac" type veth peer name "$host" netns /proc/self/fd/4
    nsenter --net=/proc/self/fd/4 ip link set "$host" master bridge up
    ip addr add "$address/24" dev eth0
    ip link set eth0 up
    ip route add default via "${address%.*}.254"

    mount -t tmpfs -o "size=$bytes,mode=755" cloudbox /mnt # in this namespace only
    mkdir /mnt/upper /mnt/work /mnt/root
    tar -x -C /mnt/upper
    mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" cloudbox /mnt/root

    # With `--console=pipe` there is no /dev/console, to which cloud-init writes.
    # Without the variable, /proc/sys and /sys are read-only, and the network setup fails.
    SYSTEMD_NSPAWN_API_VFS_WRITABLE=network \
        systemd-nspawn --quiet --boot --directory=/mnt/root --machine="$host" --console=read-only \
        --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN \
        --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off "$@" \
        </dev/null 4<&-
}

# nspawn needs a cgroup for each host in each hierarchy, including systemd's and the unified one.
# Otherwise all hosts share one, /payload, and whether they boot depends on earlier hosts.
for_each_hierarchy() {
    if [ -e /sys/fs/cgroup/cgroup.procs ]; then
        $1 /sys/fs/cgroup
    else
        for hierarchy in /sys/fs/cgroup/*; do
            [ -h "$hierarchy" ] || [ ! -e "$hierarchy/cgroup.procs" ] || $1 "$hierarchy"
        done
    fi
}

make_cgroup() {
    mkdir "$1/$name"
    for file in cpuset.cpus cpuset.mems; do # v1 accepts no process while they are empty
        [ ! -e "$1/tasks" ] || [ ! -e "$1/$file" ] || cat "$1/$file" >"$1/$name/$file"
    done
}

join_cgroup() {
    echo 0 >"$1/$name/cgroup.procs"
}

remove_cgroups() {
    for_each_hierarchy remove_cgroup
}

remove_cgroup() {
    for _ in $(seq 100); do # the last process may still be ending
        find "$1/$name" -depth -type d -exec rmdir {} + 2>/dev/null || :
        [ -e "$1/$name" ] || break
        sleep 0.02
    done
}

verb=$1
shift
$verb "$@"
