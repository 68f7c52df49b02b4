"""Certificates for tests: an authority of the test's own, and what it signs.

Made with `cryptography`, which comes with CrewAI's dependencies. Valid for 127.0.0.1 and
localhost, for a day.
"""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates. Its own stands in `ca_file`."""

    def __init__(self, folder, name="authority"):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca_file = folder / f"{name}.pem"
        usage = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=True,
            **dict.fromkeys(
                (
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            ),
        )
        builder = self._builder(self._name, self._key).add_extension(usage, critical=True)
        own = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        _write(self.ca_file, own.sign(self._key, hashes.SHA256()))

    def server_options(self):
        """Return the options of a server that shows a certificate, and wants one."""
        cert, key = self.issue("server")
        return {"tls_cert_file": cert, "tls_key_file": key, "tls_ca_cert_file": self.ca_file}

    def client_settings(self):
        """Return our settings, with files for somebody whom that server lets in."""
        cert, key = self.issue("crewpool")
        return {"redis_ca_file": self.ca_file, "redis_cert_file": cert, "redis_key_file": key}

    def issue(self, name):
        """Return the files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
        ]
        signed = (
            self._builder(_name(name), key)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        cert_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        _write(cert_file, signed)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_file, key_file

    def _builder(self, subject, key):
        now = dt.datetime.now(dt.UTC)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(authority, critical=False)
        )


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(file, certificate):
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
