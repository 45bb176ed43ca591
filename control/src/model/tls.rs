//! TLS to a cell, as it is written in JSON. The files are the proxies' own: nobody here reads them.

use cellgate_table::{
    ClientCert, TlsClient,
    file::{ClientCertFile, TlsClientFile},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How proxies speak TLS to a cell, whose certificate they always verify. Paths are those of files on the proxies'
/// machines, relative to the folder of their table file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSpec {
    /// Whom the cell's certificate has to be for: a name without wildcard, or an IP address.
    #[schema(max_length = 253, example = "cell.example.com")]
    pub server_name: String,
    /// The file with the certificates of the authorities that are trusted, in PEM.
    #[schema(max_length = 4_095, example = "/etc/cellgate/cells-ca.pem")]
    pub ca: String,
    /// What proxies show to a cell that wants a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<ClientCertSpec>,
}

/// A certificate that proxies show to a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertSpec {
    /// The file with the certificate and its chain, in PEM.
    #[schema(max_length = 4_095, example = "/etc/cellgate/proxy.crt")]
    pub certificate: String,
    /// The file with its private key, in PEM. By default the file of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4_095, example = "/etc/cellgate/proxy.key")]
    pub key: Option<String>,
}

impl TlsSpec {
    /// As the table library has it, of what was checked before.
    pub(super) fn client(&self) -> TlsClient {
        TlsClient {
            server_name: self.server_name.as_str().into(),
            ca: self.ca.as_str().into(),
            client_cert: self.client_cert.as_ref().map(|cert| ClientCert {
                certificate: cert.certificate.as_str().into(),
                key: cert
                    .key
                    .as_ref()
                    .unwrap_or(&cert.certificate)
                    .as_str()
                    .into(),
            }),
        }
    }

    pub(super) fn file(&self) -> TlsClientFile {
        TlsClientFile {
            server_name: self.server_name.clone(),
            ca: self.ca.clone(),
            client_cert: self.client_cert.as_ref().map(|cert| ClientCertFile {
                certificate: cert.certificate.clone(),
                key: cert.key.clone(),
            }),
        }
    }

    pub(super) fn of(tls: &TlsClient) -> Self {
        Self {
            server_name: tls.server_name.to_string(),
            ca: tls.ca.to_string(),
            client_cert: tls.client_cert.as_ref().map(|cert| ClientCertSpec {
                certificate: cert.certificate.to_string(),
                key: Some(cert.key.to_string()),
            }),
        }
    }
}
