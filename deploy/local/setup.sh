#!/usr/bin/env bash
# Everything carlien needs on this machine: Debian packages (when root), the Python environment in .venv/, Kafka's jars and
# Fabric's binaries in a cache outside the tree. Safe to repeat and to interrupt; a no-op in a few milliseconds when done.
#   deploy/local/setup.sh            set up
#   deploy/local/setup.sh step NAME  one step in the foreground (what the former runs side by side)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
cache=${CARLIEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/carlien}
logs=$root/.local/setup
stamp=$root/.venv/.carlien-setup
members=(protos services/common services/valuation services/lien-registry services/telematics services/pricing deploy/local)
export PATH=$PATH:/usr/local/go/bin GOTOOLCHAIN=local UV_PYTHON_DOWNLOADS=never PIP_DISABLE_PIP_VERSION_CHECK=1

# The same 12 digits as carlien_local.layout.digest.
digest() { cat "$@" | sha256sum | cut -c1-12; }
kafka=$cache/kafka-$(digest deploy/local/kafka/pom.xml)
fabric=$cache/fabric-$(digest deploy/fabric/tools/go.sum)

# What the set-up was made from. Whatever of it changes makes the next run do its work again.
inputs() {
    { echo "$root"; cat deploy/local/setup.sh requirements/bootstrap.txt requirements/all.txt "${members[@]/%//pyproject.toml}"; } | sha256sum
    echo "$kafka $fabric"
}
is_done() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(inputs)" ] && [ -d "$kafka/libs" ] && [ -d "$fabric/bin" ] &&
        [ -z "$(missing_packages)" ]
}

# -- what the machine must have -----------------------------------------------------------------------------------------
has() { command -v "$1" >/dev/null; }
missing_packages() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || has initdb || echo postgresql
    has prometheus || echo prometheus
    has java || echo openjdk-17-jre-headless
    has mvn || echo maven
    /sbin/ldconfig -p | grep 'libgomp\.so\.1' >/dev/null || echo libgomp1 # LightGBM's OpenMP runtime
    [ -d /usr/share/doc/python3-venv ] || [ -x .venv/bin/python ] || has_venv || echo python3-venv
}
python() { for name in python3.11 python3 /usr/bin/python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then echo "$name"; return; fi
done; return 1; }
has_venv() { "$(python)" -c 'import ensurepip' 2>/dev/null; }

install_packages() {
    local wanted=("$@") guard=/usr/sbin/policy-rc.d no_cluster=/etc/postgresql-common/createcluster.d/carlien-setup.conf
    # The packages would start servers of their own: forbid it while they're installed (unless the machine does already).
    if [ -e "$guard" ]; then guard=""; else printf '#!/bin/sh\nexit 101\n' >"$guard"; chmod +x "$guard"; fi
    mkdir -p "$(dirname "$no_cluster")" && echo 'create_main_cluster = false' >"$no_cluster"
    local status=0
    { DEBIAN_FRONTEND=noninteractive apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${wanted[@]}"; } || status=$?
    rm -f "$no_cluster" ${guard:+"$guard"}
    case " ${wanted[*]} " in *" prometheus "*) systemctl disable prometheus.service >/dev/null 2>&1 || true ;; esac
    return $status
}

check_machine() {
    local problems=() packages
    mapfile -t packages < <(missing_packages)
    if [ ${#packages[@]} -gt 0 ]; then
        if [ "$(id -u)" = 0 ] && has apt-get; then
            echo "Installing Debian packages: ${packages[*]}"
            install_packages "${packages[@]}" >"$logs/packages.log" 2>&1 || fail packages
        else
            problems+=("Debian packages, as root:  apt-get install --no-install-recommends ${packages[*]}")
        fi
    fi
    python >/dev/null || problems+=("Python 3.11 (on Debian 12: apt-get install python3 python3-venv)")
    local go; go=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
    at_least 1.26 "${go:-0}" || problems+=("Go 1.26 or newer (found ${go:-none}): https://go.dev/doc/install")
    if has java; then
        local java; java=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
        at_least 17 "${java:-0}" || problems+=("Java 17 or newer (found ${java:-none}): apt-get install openjdk-17-jre-headless")
    fi
    local free; free=$(df --output=avail -m "$root" | tail -1)
    [ "$free" -ge 6000 ] || problems+=("6 GB of free disk under $root (found $free MB)")
    if [ ${#problems[@]} -gt 0 ]; then
        printf 'This machine lacks:\n'; printf '  - %s\n' "${problems[@]}"; echo "Install that, then run this again."
        exit 1
    fi
}
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]; }
fail() { echo "✗ $1 failed. Last lines of $logs/$1.log:"; tail -n 20 "$logs/$1.log" | sed 's/^/    | /'; exit 1; }

# -- the steps ----------------------------------------------------------------------------------------------------------
step_python() {
    [ -x .venv/bin/python ] || "$(python)" -m venv .venv
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
    .venv/bin/uv pip install --require-hashes -r requirements/all.txt
    .venv/bin/uv pip install --no-deps --no-build-isolation "${members[@]/#/--editable=./}"
}
step_kafka() {
    [ -d "$kafka/libs" ] && return
    local draft="$kafka.$$"
    trap "rm -rf '$draft'" EXIT
    mvn -q -B -f deploy/local/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$draft/libs"
    publish "$draft" "$kafka"
}
step_fabric() {
    if [ ! -d "$fabric/bin" ]; then
        local draft="$fabric.$$" module=github.com/hyperledger/fabric
        trap "rm -rf '$draft'" EXIT
        mkdir -p "$draft/bin" "$draft/config"
        (cd deploy/fabric/tools && go build -trimpath -ldflags='-s -w' -o "$draft/bin/" $module/cmd/{peer,orderer,cryptogen,configtxgen,osnadmin})
        local samples; samples=$(cd deploy/fabric/tools && go list -m -f '{{.Dir}}' $module)/sampleconfig
        install -m 0644 "$samples/core.yaml" "$samples/orderer.yaml" "$draft/config/"
        publish "$draft" "$fabric"
    fi
    # Only fills Go's build cache, so that the first `up` has the chaincode in a moment.
    (cd services/lien-registry/chaincode && CGO_ENABLED=0 go build -trimpath -o /dev/null .)
}
# Another clone may have finished the same thing meanwhile: then its copy stands.
publish() { mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ]; }

# -- all of it ----------------------------------------------------------------------------------------------------------
declare -A running=()
stop_running() { for pid in "${running[@]}"; do kill -- "-$pid" 2>/dev/null || true; done; }

run_steps() {
    local name begin=$SECONDS ticks=0
    trap 'stop_running; echo; echo "Interrupted. Run it again to go on."; exit 130' INT TERM
    for name in "$@"; do
        # A session of its own, so that the whole step can be ended with one signal.
        setsid "$root/deploy/local/setup.sh" step "$name" >"$logs/$name.log" 2>&1 &
        running[$name]=$!
    done
    while [ ${#running[@]} -gt 0 ]; do
        for name in "${!running[@]}"; do
            if ! kill -0 "${running[$name]}" 2>/dev/null; then
                if wait "${running[$name]}"; then
                    echo "✓ $name ($((SECONDS - begin)) s)"
                    unset "running[$name]"
                else
                    unset "running[$name]"
                    stop_running
                    fail "$name"
                fi
            fi
        done
        [ ${#running[@]} -eq 0 ] && break
        sleep 0.5
        ticks=$((ticks + 1))
        [ $((ticks % 20)) -ne 0 ] || echo "  … ${!running[*]} ($((SECONDS - begin)) s)"
    done
    trap - INT TERM
}

if [ "${1:-}" = step ]; then "step_$2"; exit; fi
if is_done; then exit 0; fi
mkdir -p "$logs" "$cache"
exec 9>"$logs/lock"
flock -n 9 || { echo "Another set-up of this tree is running; waiting for it …"; flock -w 1800 9 || { echo "Gave up after 30 min."; exit 1; }; }
if is_done; then exit 0; fi
echo "Setting up (a few minutes the first time; logs in .local/setup/)"
check_machine
run_steps python kafka fabric
inputs >"$stamp.new" && mv "$stamp.new" "$stamp"
echo "Set up."
