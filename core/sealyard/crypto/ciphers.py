"""Content ciphers for keys whose bytes are in this process."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB

from sealyard.crypto.algorithms import (
    BLOCK_LENGTH,
    CIPHERS,
    SYMMETRIC_KEY_LENGTHS,
    CipherMode,
    CipherSpec,
    Padding,
)
from sealyard.crypto.protocols import CipherStream
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.errors import ContainerError, InvalidKeyError


class AesCipher:
    """AES (FIPS 197) in a mode of NIST SP 800-38A, with the padding of the algorithm.

    The IV has 16 bytes, and for CTR it is the first counter block (big-endian). ECB has no IV: pass ``b""``.

    Raises :class:`InvalidKeyError` if the length of ``key`` does not match the algorithm. :meth:`encryptor` and
    :meth:`decryptor` raise :class:`ContainerError` if the IV has the wrong length.
    """

    def __init__(self, algorithm: EncryptionAlgorithm, key: bytes) -> None:
        self._spec = CIPHERS[algorithm]
        key_length = SYMMETRIC_KEY_LENGTHS[self._spec.key_kind]
        if len(key) != key_length:
            raise InvalidKeyError(
                f"{algorithm} requires a key of {key_length} bytes; this one has {len(key)}.",
                f"Use a key of type {self._spec.key_kind}.",
            )
        self._key = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.algorithm})"

    @property
    def algorithm(self) -> EncryptionAlgorithm:
        return self._spec.algorithm

    def encryptor(self, iv: bytes) -> CipherStream:
        return _Encryptor(self._create_cipher(iv).encryptor(), self._spec.padding)

    def decryptor(self, iv: bytes) -> CipherStream:
        context = self._create_cipher(iv).decryptor()
        if self._spec.padding is Padding.PKCS7:
            return _UnpaddingDecryptor(context)
        return _Decryptor(context)

    def _create_cipher(self, iv: bytes) -> Cipher[CBC] | Cipher[CTR] | Cipher[ECB]:
        _check_iv(self._spec, iv)
        match self._spec.mode:
            case CipherMode.CBC:
                return Cipher(AES(self._key), CBC(iv))
            case CipherMode.CTR:
                return Cipher(AES(self._key), CTR(iv))
            case CipherMode.ECB:
                # The S&E API defines ECB algorithms, so devices may require them; the catalogue has a caveat about ECB.
                return Cipher(AES(self._key), ECB())  # noqa: S305


class _Encryptor:
    def __init__(self, context: CipherContext, padding: Padding) -> None:
        self._context = context
        self._padding = padding
        self._total_length = 0

    def update_into(self, data: memoryview, out: memoryview) -> int:
        self._total_length += len(data)
        return self._context.update_into(data, out)

    def finalize(self) -> bytes:
        return self._context.update(self._padding_bytes()) + self._context.finalize()

    def _padding_bytes(self) -> bytes:
        missing_length = -self._total_length % BLOCK_LENGTH
        match self._padding:
            case Padding.PKCS7:
                count = missing_length or BLOCK_LENGTH
                return bytes([count]) * count
            case Padding.ZERO:
                return bytes(missing_length)
            case Padding.NONE:
                return b""


class _Decryptor:
    def __init__(self, context: CipherContext) -> None:
        self._context = context

    def update_into(self, data: memoryview, out: memoryview) -> int:
        return self._context.update_into(data, out)

    def finalize(self) -> bytes:
        return _finalize(self._context)


class _UnpaddingDecryptor:
    """Decryptor that removes PKCS #7 padding.

    Buffers the last 16 bytes of ciphertext until :meth:`finalize`, because they contain the padding.
    """

    def __init__(self, context: CipherContext) -> None:
        self._context = context
        self._pending_ciphertext = b""

    def update_into(self, data: memoryview, out: memoryview) -> int:
        if len(data) < BLOCK_LENGTH:
            ciphertext = self._pending_ciphertext + bytes(data)
            self._pending_ciphertext = ciphertext[-BLOCK_LENGTH:]
            return self._context.update_into(ciphertext[:-BLOCK_LENGTH], out)
        bytes_written = self._context.update_into(self._pending_ciphertext, out)
        bytes_written += self._context.update_into(data[:-BLOCK_LENGTH], out[bytes_written:])
        self._pending_ciphertext = bytes(data[-BLOCK_LENGTH:])
        return bytes_written

    def finalize(self) -> bytes:
        return _strip_pkcs7(self._context.update(self._pending_ciphertext) + _finalize(self._context))


def _finalize(context: CipherContext) -> bytes:
    try:
        return context.finalize()
    except ValueError as error:
        raise ContainerError(
            f"The length of the ciphertext is not a multiple of {BLOCK_LENGTH} bytes.",
            "The file is truncated or modified; download it again.",
        ) from error


def _strip_pkcs7(block: bytes) -> bytes:
    """Remove PKCS #7 padding (RFC 5652, section 6.3).

    Raises :class:`ContainerError` unless all bytes of the padding are valid.
    """
    padding_length = block[-1] if block else 0
    if not 1 <= padding_length <= BLOCK_LENGTH or block[-padding_length:] != bytes([padding_length]) * padding_length:
        raise ContainerError(
            "The padding at the end of the plaintext is invalid.",
            "Check the key: the file was probably encrypted with a different one.",
        )
    return block[:-padding_length]


def _check_iv(spec: CipherSpec, iv: bytes) -> None:
    if len(iv) != spec.iv_length:
        raise ContainerError(f"{spec.algorithm} requires an IV of {spec.iv_length} bytes; this one has {len(iv)}.")
