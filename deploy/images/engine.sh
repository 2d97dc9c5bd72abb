# Sourced by what builds images: the Docker client that can, in $docker (DOCKER=… names one); ends the script where no engine answers.
docker=${DOCKER:-docker}
# A newer client without the buildx plugin can't use BuildKit; Debian's own can.
if [ -z "${DOCKER:-}" ] && ! docker buildx version >/dev/null 2>&1 && [ -x /usr/bin/docker ]; then docker=/usr/bin/docker; fi
"$docker" info >/dev/null 2>&1 || { echo "No Docker engine answers. Start one (Debian: apt-get install docker.io iptables; dockerd)." >&2; exit 1; }
