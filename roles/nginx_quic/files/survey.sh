# Tell what is on the host before anything is changed, one fact a line, each behind its kind.

# built: "nginx -V" of the nginx that is installed, else of the one that apt would install.
version() {
    if command -v nginx >/dev/null; then
        nginx -V
    else
        folder=$(mktemp -d)
        chmod 755 "$folder"
        cd "$folder" || exit
        apt-get -qq download nginx 2>/dev/null || { apt-get -qq update; apt-get -qq download nginx; }
        dpkg-deb -x nginx_*.deb .
        ./usr/sbin/nginx -V
        rm -rf "$folder"
    fi
}
echo "built $( (version) 2>&1 | tr '\n' ' ')"

# listener: who holds the ports of the edge.
ss --no-header --listening --tcp --udp --numeric --processes '( sport = :80 or sport = :443 )' |
    sed 's/  */ /g; s/^/listener /'

# written: what of /etc/nginx somebody wrote and this role would replace or collide with.
if cd /etc/nginx 2>/dev/null; then
    changed=$(dpkg --verify nginx-common 2>/dev/null)
    for file in nginx.conf sites-available/default; do
        grep -q 'by codeintel.mcp_edge' "$file" 2>/dev/null ||
            echo "$changed" | grep -o "/etc/nginx/$file$"
    done | sed 's/^/written /'
    grep -rsl -E '^[^#]*listen.*default_server' conf.d sites-enabled |
        grep -vx -e conf.d/00-mcp-edge.conf -e sites-enabled/default | sed 's,^,written /etc/nginx/,'

    # terminating, passthrough: the sites of this collection.
    grep -sl 'by codeintel.mcp_edge' passthrough.d/*.conf | sed 's,^.*/,passthrough ,; s,[.]conf$,,'
    grep -sl 'listen 443 ssl;' $(grep -sl 'by codeintel.mcp_edge' conf.d/*.conf) /dev/null |
        sed 's,^.*/,terminating ,; s,[.]conf$,,'
    # foreign: other sites on port 443.
    grep -rsL 'by codeintel.mcp_edge' conf.d sites-enabled |
        xargs -r grep -sl -E '^[^#]*listen[^;]*\b443\b' | sed 's,^,foreign /etc/nginx/,'
fi

# ipv6: the kernel has it, and it is not disabled: the loopback address is there.
! grep -qs '^0\{31\}1 ' /proc/net/if_inet6 || echo ipv6

# ssh: the ports of sshd, or of the socket that starts it.
{
    ss --no-header --listening --tcp --numeric --processes | awk '/"sshd"/ {print $4}'
    systemctl show --property=Listen ssh.socket sshd.socket | sed -n 's/^Listen=\(.*\) (Stream)$/\1/p'
} | sed -n 's/^.*:\([0-9]*\)$/ssh \1/p' | sort -u
