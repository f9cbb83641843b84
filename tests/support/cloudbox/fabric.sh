# The network of one box: a namespace with a bridge, that the hosts plug into.
#
#   unshare --net sh fabric.sh DRIVER NAME
#       Make it, and plug in the namespace of the process DRIVER with a card that bears the
#       box's NAME; say the third byte of its addresses; it ends when standard input does.
#
# Nothing of it outlives this process: the namespace has no name, a namespace without a
# process goes, and both ends of a cable go with either. In a namespace of its own,
# the computer's firewall and its forwarding rules have no say.

set -eu
driver=$1 name=$2
n=0

# The name is what nobody else can have at the same time.
until ip link add uplink type veth peer name "cloudbox$n" netns "$driver" 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 256 ] || ip link add uplink type veth peer name cloudbox255 netns "$driver"
done

ip link set lo up
# With an address of its own; else it takes its ports', and changes it when they come and go.
ip link add bridge address 02:00:00:00:00:01 up type bridge
ip link set uplink master bridge up
ip addr add "10.215.$n.254/24" dev bridge # the hosts' gateway, which leads nowhere
ip addr add 169.254.169.254/32 dev bridge # where clouds have their metadata service
ip addr add 168.63.129.16/32 dev bridge   # and Azure another
# It has no route to forward by, so it says at once that there is none.
echo 1 >/proc/sys/net/ipv4/ip_forward

nsenter --net="/proc/$driver/ns/net" ip addr add "10.215.$n.1/24" dev "cloudbox$n"
nsenter --net="/proc/$driver/ns/net" ip link set "cloudbox$n" alias "$name" up

echo "$n"
exec >&-
read -r _ || :
ip link del uplink # with its other end, at once: the kernel takes its time over namespaces
