"""The certificate that all proxies have in the workloads over TLS: one key, for one name."""

import subprocess

from .failure import Failure

SERVER_NAME = "shop.example"
# The certificate and its key, in one file: all of them read that.
CERTIFICATE = "server.pem"
DAYS = "30"


def write_certificate(folder):
    """Signed by itself, with a key of the kind that handshakes are cheapest with and that most sites have."""
    key, certificate = folder / "server.key", folder / "server.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", DAYS, "-subj", f"/CN={SERVER_NAME}"]
    command += ["-addext", f"subjectAltName=DNS:{SERVER_NAME},IP:127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"openssl makes no certificate:\n{done.stderr}")
    both = folder / CERTIFICATE
    both.write_text(certificate.read_text() + key.read_text())
    both.chmod(0o644)  # started by root, nginx's worker is somebody else
