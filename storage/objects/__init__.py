"""Stores in buckets of S3, Google Cloud Storage and Azure: the bucket, its log, and its mirror."""
