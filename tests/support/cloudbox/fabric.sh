# The network of one box: a namespace with a bridge, to which the hosts are connected.
#
#   unshare --net sh fabric.sh DRIVER NAME
#       Create the network, connect it to the namespace of the process DRIVER by a card whose
#       alias is NAME, and print the third byte of its addresses. It ends with standard input.
#
# Nothing of it outlives this process: the namespace has no name, so it ends with its last
# process, and a cable ends with either of its ends. The firewall and the forwarding rules of
# the computer do not apply in this namespace.

set -eu
driver=$1 name=$2
n=0

# No other box can have a card of this name at the same time.
until ip link add uplink type veth peer name "cloudbox$n" netns "$driver" 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 256 ] || ip link add uplink type veth peer name cloudbox255 netns "$driver"
done

ip link set lo up
# Without its own address the bridge takes one of its ports', and changes it with the ports.
ip link add bridge address 02:00:00:00:00:01 up type bridge
ip link set uplink master bridge up
ip addr add "10.215.$n.254/24" dev bridge # the hosts' gateway, without a route
ip addr add 169.254.169.254/32 dev bridge # metadata service of each cloud
ip addr add 168.63.129.16/32 dev bridge   # wireserver of Azure
# With forwarding on and no route, hosts get an error at once.
echo 1 >/proc/sys/net/ipv4/ip_forward

nsenter --net="/proc/$driver/ns/net" ip addr add "10.215.$n.1/24" dev "cloudbox$n"
nsenter --net="/proc/$driver/ns/net" ip link set "cloudbox$n" alias "$name" up

echo "$n"
exec >&-
read -r _ || :
ip link del uplink # and its other end, at once: the kernel removes namespaces later
