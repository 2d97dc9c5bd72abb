"""Decryption and signatures of GB/T 32960. AES, SM4, RSA, ECDSA and SM3 are the `cryptography` package's; it lacks SM2, see `sm2`."""
