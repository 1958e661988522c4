#!/bin/sh
# Makes and removes a LAN of network namespaces. Needs root and iproute2.
#
#   lan.sh up NAME HOSTS      makes hosts NAME-1 … NAME-HOSTS on network A, 10.77.0.N/24
#   lan.sh join NAME N        puts host N on network B too, 10.78.0.N/24
#   lan.sh twice NAME N        puts host N on network A by a second interface, 10.77.0.(100 + N)/24
#   lan.sh leave NAME N       takes host N off network A
#   lan.sh down NAME          removes everything
#
# The switches are bridges in a namespace of their own, NAME-s, so that nothing of this touches the
# networks of the machine. No host has a default route.
set -eu
command=$1 name=$2

link() { # switch, interface of the host, host, address, and a word for a second one
    ip -n "$name-s" link add name "$1$3${5-}" type veth peer name "$2" netns "$name-$3"
    ip -n "$name-s" link set dev "$1$3${5-}" master "$1" up
    ip -n "$name-$3" address add "$4/24" dev "$2"
    ip -n "$name-$3" link set dev "$2" up
}

case $command in
up)
    ip netns add "$name-s"
    for switch in swa swb; do
        ip -n "$name-s" link add name "$switch" type bridge
        ip -n "$name-s" link set dev "$switch" up
    done
    for host in $(seq "$3"); do
        ip netns add "$name-$host"
        ip -n "$name-$host" link set lo up
        link swa eth0 "$host" "10.77.0.$host"
    done
    ;;
join) link swb eth1 "$3" "10.78.0.$3" ;;
twice) link swa eth2 "$3" "10.77.0.$((100 + $3))" second ;;
leave) ip -n "$name-$3" link del eth0 ;;
down)
    ip netns list | cut -d' ' -f1 | grep "^$name-" | while read -r namespace; do
        ip netns del "$namespace"
    done
    ;;
*)
    echo "what is $command?" >&2
    exit 1
    ;;
esac
