"""Key backend for PKCS#11 tokens: smart cards, hardware security modules, SoftHSM."""
