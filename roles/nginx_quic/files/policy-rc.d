#!/bin/sh
# Managed by Ansible: codeintel.mcp_edge.nginx_quic
# invoke-rc.d asks this before a package does something to a service. nginx's package, having restarted nginx, hands its
# sockets over to yet another process, in which half of all new QUIC connections would wait for ever.
case $1:$2 in
nginx:upgrade) exit 101 ;;
esac
exit 0
