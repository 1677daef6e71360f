"""A certificate for tests that need one."""

import pytest
import trustme


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    """The files of a CA and of a certificate chain with its key, for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "chain.pem")
    return folder / "ca.pem", folder / "chain.pem"
