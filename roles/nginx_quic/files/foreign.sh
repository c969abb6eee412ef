# Print what of /etc/nginx somebody wrote and this role would replace or collide with.
cd /etc/nginx 2>/dev/null || exit 0
changed=$(dpkg --verify nginx-common 2>/dev/null)
for file in nginx.conf sites-available/default; do
    grep -q 'by codeintel.mcp_edge' "$file" 2>/dev/null ||
        echo "$changed" | grep -o "/etc/nginx/$file$"
done
grep -rsl --include='*' -E '^[^#]*listen.*default_server' conf.d sites-enabled |
    grep -vx -e conf.d/00-mcp-edge.conf -e sites-enabled/default | sed 's,^,/etc/nginx/,'
exit 0
