# One machine's host: a network namespace, plugged into a switch that all of them share.
#
#   machine.sh run NAME SWITCH/BITS FIRST LAST PORT COMMAND...
#       Make it, with the first free address of those from FIRST to LAST (numbers), and say
#       which; run COMMAND in it, whose standard input is the script's own; take it away.
#   machine.sh free NAME
#       Kill all that runs in it, and take it away.
#
# The switch is a bridge in a namespace of its own, where the computer's firewall and its
# forwarding rules have no say. The first machine makes it, the last one takes it away, and
# nobody makes or takes anything but under the lock.

set -eu
switch=bigmachine-switch # its namespace
uplink=bigmachine0       # the computer's own network card at the switch
lock=/run/bigmachine-netns.lock

run() {
    card=$1 n=$2 last=$3 port=$4
    shift 4
    trap : HUP INT PIPE TERM # it ends when the machine has, and the host is taken away
    trap 'exec 9>&-; free' EXIT # after a failure it may still hold the lock
    {
        flock -w 30 9 || fail "another process has held $lock for 30 s"
        while
            address=$((n >> 24)).$((n >> 16 & 255)).$((n >> 8 & 255)).$((n & 255))
            exists /run/netns/bigmachine-"$address"-*
        do
            [ "$n" -lt "$last" ] || fail "every address of the subnet is taken"
            n=$((n + 1))
        done
        namespace=bigmachine-$address-$name
        ip netns add "$namespace"
        plug_in
    } 9>$lock
    echo "$address"
    exec 8>&2 >/dev/null 2>&1 # so the shell's own remarks, such as "Killed", go nowhere
    status=0
    # In a subshell: a shell may write them to where the command's own errors go.
    (exec setsid ip netns exec "$namespace" "$@" --listen "$address:$port" >&8 2>&8 8>&-) || status=$?
    return $status
}

plug_in() {
    [ -e /run/netns/$switch ] || ip netns add $switch
    ip -n $switch link show bridge >/dev/null 2>&1 || ip -n $switch link add bridge up type bridge
    ip link show $uplink >/dev/null 2>&1 ||
        ip link add $uplink type veth peer name computer netns $switch
    ip -n $switch link set computer master bridge up
    ip addr replace "$card" dev $uplink
    ip link set $uplink up
    # A card always has the same number for the same address, since others remember it.
    mac=$(printf 02:00:%08x "$n" | sed 's/\(..\)\(..\)\(..\)\(..\)$/\1:\2:\3:\4/')
    ip -n $switch link add "$address" master bridge up \
        type veth peer name eth0 address "$mac" netns "$namespace"
    ip -n "$namespace" addr add "$address/${card#*/}" dev eth0
    ip -n "$namespace" link set eth0 up
    ip -n "$namespace" link set lo up
}

free() {
    set +e
    set -- /run/netns/bigmachine-[0-9]*-"$name"
    # All that runs there, whatever group or session it went to; and see it end.
    while pids=$(ip netns pids "${1##*/}") && [ "$pids" ]; do
        kill -9 $pids
        sleep 0.01
    done
    address=${1#*/bigmachine-}
    {
        flock -w 30 9
        if exists "$1"; then # else the address may be another's by now
            ip -n $switch link del "${address%%-*}"
            ip netns del "${1##*/}"
        fi
        if ! exists /run/netns/bigmachine-[0-9]*; then
            ip link del $uplink
            ip netns del $switch
        fi
    } 9>$lock
    ! exists "$1"
} 2>/dev/null

exists() {
    [ -e "$1" ] # a pattern that nothing matches stands for itself
}

fail() {
    echo "$*" >&2
    exit 1
}

verb=$1 name=$2
shift 2
$verb "$@"
