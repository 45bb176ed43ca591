//! Certificates that are made for a test, and clients that trust them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tempfile::TempDir;

/// An authority of the test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pem {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::until(4096)
    }

    /// One whose certificate is valid until the beginning of this year.
    pub(crate) fn until(year: i32) -> Self {
        let mut params = authority_params("authority of the test");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("there are random numbers");
        Self(CertifiedIssuer::self_signed(params, key).expect("all of it is good"))
    }

    /// One that this one has signed, by this name and with this serial number.
    pub(crate) fn below(&self, name: &str, serial: u64) -> Self {
        let mut params = authority_params(name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("there are random numbers");
        Self(CertifiedIssuer::signed_by(params, key, &self.0).expect("all of it is good"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate for these names.
    pub(crate) fn server(&self, names: &[&str]) -> Pem {
        self.server_until(names, 4096)
    }

    /// The same, valid until the beginning of this year.
    pub(crate) fn server_until(&self, names: &[&str], year: i32) -> Pem {
        let key = KeyPair::generate().expect("there are random numbers");
        self.server_for(names, year, key)
    }

    /// The same for a key of another kind.
    pub(crate) fn server_for(&self, names: &[&str], year: i32, key: KeyPair) -> Pem {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params, key)
    }

    /// A client's certificate with this serial number.
    pub(crate) fn client(&self, name: &str, serial: u64) -> Pem {
        let mut params = CertificateParams::new([name.to_owned()]).expect("the name is good");
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("there are random numbers");
        self.sign(&params, key)
    }

    /// A client's certificate with these names.
    pub(crate) fn client_with(&self, names: &[SanType]) -> Pem {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("there are random numbers");
        self.sign(&params, key)
    }

    /// The list of revoked certificates with these serial numbers.
    pub(crate) fn revoked(&self, serials: &[u64]) -> String {
        self.revoked_until(serials, 4096)
    }

    /// The same, with the next one promised by the beginning of this year.
    pub(crate) fn revoked_until(&self, serials: &[u64], year: i32) -> String {
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("all of it is good");
        list.pem().expect("DER is always PEM")
    }

    fn sign(&self, params: &CertificateParams, key: KeyPair) -> Pem {
        let certificate = params.signed_by(&key, &self.0).expect("all of it is good");
        Pem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts it.
    pub(crate) fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Pem>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.0.der().clone())
            .expect("it is an authority's");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring has suites for each")
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes());
                let chain: Result<Vec<_>, _> = chain.collect();
                let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
                config
                    .with_client_auth_cert(
                        chain.expect("it was made here"),
                        key.expect("it was made here"),
                    )
                    .expect("they belong together")
            }
        };
        Arc::new(config)
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).expect("it has no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A client's side of a connection to this server.
pub(crate) fn client(config: &Arc<ClientConfig>, server: &'static str) -> ClientConnection {
    let server = server.try_into().expect("it is a name");
    ClientConnection::new(Arc::clone(config), server).expect("the configuration is good")
}

/// A folder of certificates and keys that a proxy and clients read.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("the temporary directory can be written to"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Replaces a file the recommended way.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let new = self.path(&format!(".{name}.new"));
        fs::write(&new, text).expect("the scratch directory is ours");
        super::proxy::rename_over(&new, &path);
        path
    }

    /// As `NAME.crt` and `NAME.key`.
    pub(crate) fn write_pair(&self, name: &str, pem: &Pem) {
        self.write(&format!("{name}.crt"), &pem.certificate);
        self.write(&format!("{name}.key"), &pem.key);
    }
}
