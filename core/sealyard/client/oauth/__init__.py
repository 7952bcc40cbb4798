"""Login through an OpenID Connect issuer: authorization grants, stored tokens and their renewal.

This is own code and not Authlib: its HTTPX clients have neither the device grant nor the loopback redirect, and what
remains, encoding a form and decoding a JSON document, is shorter than the adapter would be.
"""
