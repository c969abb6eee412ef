# Print what "nginx -V" says: of the nginx that is installed, else of the one that apt would install.
set -eu
command -v nginx >/dev/null && exec nginx -V
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
chmod 755 .
apt-get -qq download nginx 2>/dev/null || { apt-get -qq update; apt-get -qq download nginx; }
dpkg-deb -x nginx_*.deb .
./usr/sbin/nginx -V
