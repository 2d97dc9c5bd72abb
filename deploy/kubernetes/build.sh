#!/usr/bin/env bash
# Builds kube-apiserver and kube-controller-manager, and writes the definitions of the custom resources that the chart uses from
# their own Go types, all at the versions of tools/go.mod. Ten minutes once; kept in the cache. The last line is the folder: bin/, crds/.
set -euo pipefail
cd "$(dirname "$0")/tools"
export PATH=$PATH:/usr/local/go/bin GOTOOLCHAIN=local
command -v etcd >/dev/null || { echo "etcd is needed: apt-get install --no-install-recommends etcd-server" >&2; exit 1; }
cache=${CARLIEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/carlien}
kubernetes=$cache/kubernetes-$(cat go.sum ../build.sh | sha256sum | cut -c1-12)
if [ ! -d "$kubernetes" ]; then
    echo "building the Kubernetes API server (10 minutes) ..." >&2
    mkdir -p "$cache"
    draft=$(mktemp -d "$kubernetes.XXXXXX")
    trap 'rm -rf "$draft"' EXIT
    # Helm asks which version it talks to; Kubernetes' own build writes it there, too.
    version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$draft/bin/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager}
    go tool controller-gen crd output:crd:dir="$draft/crds" \
        paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1 paths=github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1
    mv -T "$draft" "$kubernetes" 2>/dev/null || [ -d "$kubernetes" ] # another clone may have finished the same thing meanwhile
fi
echo "$kubernetes"
