#!/usr/bin/env bash
# Starts a Spot instance that trains (configs/aws-user-data.yaml). The request is persistent: EC2 stops the instance if it needs the capacity,
# and starts it again later. Needs the AWS CLI, and an EFS file system whose name stands in the user data.
set -euo pipefail
: "${MACHINE:=g6.xlarge}" # one L4 GPU
: "${IMAGE:=resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id}"
: "${SUBNET:?the subnet in which the EFS file system has a mount target}"
: "${GROUP:?a security group that may reach it}"
cd "$(dirname "${BASH_SOURCE[0]}")"

# IMDSv2 only. With a hop limit of 2, containers on the instance see the notices too.
aws ec2 run-instances --image-id "$IMAGE" --instance-type "$MACHINE" --subnet-id "$SUBNET" --security-group-ids "$GROUP" \
    --instance-market-options 'MarketType=spot,SpotOptions={SpotInstanceType=persistent,InstanceInterruptionBehavior=stop}' \
    --metadata-options 'HttpTokens=required,HttpEndpoint=enabled,HttpPutResponseHopLimit=2' \
    --user-data file://../../configs/aws-user-data.yaml
