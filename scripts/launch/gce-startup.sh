#!/usr/bin/env bash
# Start-up script of a Spot VM on Compute Engine (gce-create.sh makes it): runs as root at every boot, and continues the training of the last VM.
set -euo pipefail
: "${DISK:=/dev/disk/by-id/google-runs}" # outlives the VM
: "${RUNS:=/mnt/runs}"                   # where it is mounted; nothing else here is kept
: "${PROGRAM:=/opt/training}"            # on the VM's own disk
: "${SOURCE:=https://github.com/you/training.git}"
: "${ACCOUNT:=trainer}" # not root
: "${UNIT:=systemd-run --quiet --wait --pipe --collect --unit=training --property=KillMode=mixed --property=TimeoutStopSec=25 \
    --property=OOMPolicy=continue}" # a training that runs out of memory is the launcher's business; by default the whole unit would be ended with it
: "${AT_END:=scale_to_zero}"

# shellcheck disable=SC2329 # the name of the second one stands in AT_END
attribute() { curl --silent --fail -H Metadata-Flavor:Google "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"; }
# shellcheck disable=SC2329
scale_to_zero() { gcloud compute instance-groups managed resize "$(attribute group)" --zone="$(attribute zone)" --size=0 --quiet; }

# Only a disk that was never written is formatted.
if cmp -s -n 1048576 "$DISK" /dev/zero; then mkfs.ext4 -q -m 0 "$DISK"; fi
mkdir -p "$RUNS"
mountpoint -q "$RUNS" || mount "$DISK" "$RUNS"

id "$ACCOUNT" >/dev/null 2>&1 || useradd --system --create-home "$ACCOUNT"
install -d -o "$ACCOUNT" "$RUNS/digits"

if [[ ! -d "$PROGRAM/venv" ]]; then
    rm -rf "$PROGRAM"
    git clone --quiet --depth 1 "$SOURCE" "$PROGRAM"
    python3 -m venv "$PROGRAM/venv"
    "$PROGRAM/venv/bin/pip" install --quiet -r "$PROGRAM/requirements.txt"
fi

read -ra unit <<<"$UNIT"
code=0
"${unit[@]}" setpriv --reuid="$ACCOUNT" --regid="$ACCOUNT" --init-groups \
    "$PROGRAM/venv/bin/ckptkit" run --notices=gce --grace-secs=25 --run="$RUNS/digits" -- \
    "$PROGRAM/venv/bin/python" "$PROGRAM/train.py" --run "$RUNS/digits" || code=$?

# 75: this VM goes away, and the group makes the next one. So it does if the unit was cut off while the VM is shut down, whatever its code is
# then. Anything else would only happen again, and a VM costs money while it stands.
if ((code != 75)) && [[ "$(systemctl is-system-running)" != stopping ]]; then "$AT_END"; fi
exit "$code"
