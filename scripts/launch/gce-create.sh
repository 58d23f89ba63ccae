#!/usr/bin/env bash
# Makes what trains on a Spot VM of Compute Engine until it has finished: a group of one VM, which makes another one if it is preempted, and a
# disk that stays. Needs gcloud, and a project that is set.
set -euo pipefail
: "${NAME:=training}"
: "${ZONE:=europe-west4-a}"
: "${MACHINE:=g2-standard-4}" # one L4 GPU
: "${IMAGE:=common-cu128-ubuntu-2204-nvidia-570}" # gcloud compute images list --project=deeplearning-platform-release
cd "$(dirname "${BASH_SOURCE[0]}")"

# cloud-platform lets the start-up script set the group's size to 0 when training has finished; give the service account no more than that.
gcloud compute instance-templates create "$NAME" \
    --machine-type="$MACHINE" --provisioning-model=SPOT --instance-termination-action=STOP --maintenance-policy=TERMINATE \
    --image-project=deeplearning-platform-release --image-family="$IMAGE" --boot-disk-size=100GB \
    --create-disk=device-name=runs,size=50GB,type=pd-balanced,auto-delete=no \
    --scopes=cloud-platform --metadata=group="$NAME",zone="$ZONE" --metadata-from-file=startup-script=gce-startup.sh

# Stateful: the next VM gets the disk of the one before.
gcloud compute instance-groups managed create "$NAME" --zone="$ZONE" --template="$NAME" --size=1 --stateful-disk=device-name=runs,auto-delete=never
