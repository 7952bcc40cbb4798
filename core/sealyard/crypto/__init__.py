"""The algorithm catalogue, ciphers, signatures, digests, certificates and one-time passwords.

Ciphers and digests work on streams, in constant memory.
"""
