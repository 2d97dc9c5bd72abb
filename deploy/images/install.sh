#!/bin/sh
# What a service's Dockerfile does in its build stage, into /opt/carlien. Everything is hashed, what builds included.
#   install.sh dependencies NAME    third-party packages: a layer that stays as long as requirements/NAME.txt does
#   install.sh service NAME         our own wheels, the SBOM, and out with what only builds
set -eu
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
step=$1 name=$2

case $step in
dependencies)
    python3 -m venv /opt/build
    python3 -m venv /opt/carlien
    /opt/build/bin/pip install --quiet --no-compile --require-hashes -r requirements/build.txt
    /opt/carlien/bin/pip install --quiet --no-compile --no-deps --require-hashes -r "requirements/$name.txt"
    ;;
service)
    for part in protos services/common "services/$name"; do
        (cd "$part" && /opt/build/bin/hatchling build -t wheel -d /build/wheels >/dev/null)
    done
    /opt/carlien/bin/pip install --quiet --no-compile --no-deps --no-index wheels/*.whl
    /opt/carlien/bin/pip uninstall --quiet --yes pip setuptools 2>/dev/null || true
    # The same question /livez answers to Kubernetes, for engines that look at HEALTHCHECK.
    cat >/opt/carlien/bin/carlien-live <<'LIVE'
#!/opt/carlien/bin/python
import os, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{os.environ['CARLIEN_METRICS_PORT']}/livez", timeout=3)
LIVE
    chmod 0755 /opt/carlien/bin/carlien-live
    /opt/build/bin/cyclonedx-py environment /opt/carlien/bin/python --output-reproducible --of JSON -o /opt/carlien/sbom.cdx.json
    # Tests that packages ship, and their caches: a third of TensorFlow's users' disks for nothing.
    find /opt/carlien -depth -type d \( -name __pycache__ -o -name tests -path '*/site-packages/*/tests' \) -exec rm -rf {} +
    ;;
*) echo "unknown step: $step" >&2; exit 2 ;;
esac
