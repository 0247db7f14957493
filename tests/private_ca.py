"""A hospital's own certificate authority, made in the test, and certificates in files."""

import trustme

NAME = "cart7.hospital.example"


class PrivateCa:
    """Issues certificates into a folder."""

    def __init__(self, folder):
        self._folder, self._ca = folder, trustme.CA(organization_name="ZZ Hospital")
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name, *identities, **options):
        """Return the path of one PEM file: key, certificate, chain."""
        path = self._folder / f"{name}.pem"
        self._ca.issue_cert(*identities, **options).private_key_and_cert_chain_pem.write_to_path(
            path
        )
        return path
