"""Inputs and results in an S3 bucket. Only engines of workspaces with a bucket import this package."""
