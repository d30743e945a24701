"""Make a bucket in the S3-compatible store at MLFLOW_S3_ENDPOINT_URL, unless it is there."""

import os
import sys

import boto3


def make(name: str) -> None:
    """Keys and region come from the environment, as boto3 reads them."""
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    if name not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
        store.create_bucket(Bucket=name)


if __name__ == "__main__":
    make(sys.argv[1])
