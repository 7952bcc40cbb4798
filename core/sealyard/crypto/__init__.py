"""The algorithm catalogue, ciphers, signatures and digests: streams in, streams out."""
