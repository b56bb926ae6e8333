//! Chains with chosen dates, judged by devices whose clocks know more or less.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use super::*;

/// From one (year, month) to another.
type Valid = std::ops::RangeInclusive<(i32, u8)>;

/// A root that is always valid, an intermediate and a server's certificate.
struct Chain {
    root: Certificate,
    intermediate: Certificate,
    leaf: Certificate,
}

fn dates(params: &mut CertificateParams, valid: &Valid) {
    params.not_before = rcgen::date_time_ymd(valid.start().0, valid.start().1, 1);
    params.not_after = rcgen::date_time_ymd(valid.end().0, valid.end().1, 1);
}

fn authority(name: &str, valid: &Valid) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    dates(&mut params, valid);
    (params, KeyPair::generate().unwrap())
}

fn chain(intermediate: Valid, leaf: Valid) -> Chain {
    chain_for(intermediate, leaf, ExtendedKeyUsagePurpose::ServerAuth)
}

fn chain_for(intermediate: Valid, leaf: Valid, purpose: ExtendedKeyUsagePurpose) -> Chain {
    let (root, root_key) = authority("Root", &((2000, 1)..=(2090, 1)));
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = Issuer::new(root, root_key);
    let (middle, middle_key) = authority("Intermediate", &intermediate);
    let middle_certificate = middle.signed_by(&middle_key, &root).unwrap();
    let middle = Issuer::new(middle, middle_key);
    let mut params = CertificateParams::new(["care.example.test".to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    dates(&mut params, &leaf);
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &middle).unwrap();
    Chain { root: root_certificate, intermediate: middle_certificate, leaf }
}

impl Chain {
    fn judged(&self, clock: Clock, name: &'static str) -> Result<(), CertificateError> {
        self.judged_under(&self.root, clock, name)
    }

    fn judged_under(
        &self,
        root: &Certificate,
        clock: Clock,
        name: &'static str,
    ) -> Result<(), CertificateError> {
        let provider = Arc::new(ring_provider::default_provider());
        let trust = ServerTrust::new(
            roots(Some(root.pem().as_bytes())).unwrap(),
            &provider,
            Arc::new(clock),
            Arc::default(),
        );
        let name = ServerName::try_from(name).unwrap();
        let above = [self.intermediate.der().clone()];
        // The moment that rustls gives is not looked at.
        let now = UnixTime::since_unix_epoch(Duration::ZERO);
        match trust.unwrap().verify_server_cert(self.leaf.der(), &above, &name, &[], now) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }
}

fn at(month: (i32, u8)) -> Timestamp {
    format!("{}-{:02}-15T00:00:00Z", month.0, month.1).parse().unwrap()
}

/// A device whose server was last heard then, in an earlier run. What its own clock says has no say,
/// so that here it is the machine's.
fn last_heard(month: (i32, u8)) -> Clock {
    Clock::new(Some(at(month)))
}

/// A device that has just compared its clock.
fn compared(month: (i32, u8)) -> Clock {
    let clock = Clock::new(None);
    let _ = clock.compared(at(month), clock.monotonic());
    clock
}

const NAME: &str = "care.example.test";
const DECADES: Valid = (2020, 1)..=(2060, 1);

fn is_expired(judged: &Result<(), CertificateError>) -> bool {
    matches!(judged, Err(CertificateError::ExpiredContext { .. }))
}

#[test]
fn a_certificate_renewed_while_the_clock_stood_still_is_trusted() {
    let renewed = chain(DECADES, (2027, 6)..=(2027, 9));
    assert_eq!(renewed.judged(last_heard((2027, 3)), NAME), Ok(()));
    // The intermediate as well, and later than what it signed.
    let all_new = chain((2027, 7)..=(2037, 6), (2027, 6)..=(2027, 9));
    assert_eq!(all_new.judged(last_heard((2027, 3)), NAME), Ok(()));
}

#[test]
fn a_certificate_that_had_ended_when_the_server_was_last_heard_is_refused() {
    let old = chain(DECADES, (2026, 6)..=(2026, 9));
    assert!(is_expired(&old.judged(last_heard((2027, 3)), NAME)));
    let old = chain((2020, 1)..=(2026, 9), DECADES);
    assert!(is_expired(&old.judged(last_heard((2027, 3)), NAME)));
    assert_eq!(old.judged(last_heard((2026, 8)), NAME), Ok(()));
    // There never was a moment at which both were valid.
    let never = chain((2020, 1)..=(2027, 6), (2027, 7)..=(2027, 9));
    assert!(is_expired(&never.judged(last_heard((2027, 3)), NAME)));
}

#[test]
fn once_compared_both_dates_count() {
    let certificate = chain(DECADES, (2027, 6)..=(2027, 9));
    let early = certificate.judged(compared((2027, 3)), NAME);
    assert!(matches!(early, Err(CertificateError::NotValidYetContext { .. })), "{early:?}");
    assert_eq!(certificate.judged(compared((2027, 7)), NAME), Ok(()));
    assert!(is_expired(&certificate.judged(compared((2027, 10)), NAME)));
}

#[test]
fn names_authorities_and_purposes_are_checked_whatever_the_clock_knows() {
    let clocks = [last_heard, compared];
    let certificate = chain(DECADES, DECADES);
    let stranger = chain(DECADES, DECADES);
    let for_clients = chain_for(DECADES, DECADES, ExtendedKeyUsagePurpose::ClientAuth);
    for clock in clocks.map(|clock| move || clock((2027, 3))) {
        assert_eq!(certificate.judged(clock(), NAME), Ok(()));
        let other_name = certificate.judged(clock(), "other.example.test");
        assert!(matches!(other_name, Err(CertificateError::NotValidForNameContext { .. })), "{other_name:?}");
        // Roots of the same name with other keys.
        let other_root = certificate.judged_under(&stranger.root, clock(), NAME);
        assert!(
            matches!(other_root, Err(CertificateError::UnknownIssuer | CertificateError::BadSignature)),
            "{other_root:?}"
        );
        let other_purpose = for_clients.judged(clock(), NAME);
        assert!(
            matches!(other_purpose, Err(CertificateError::InvalidPurposeContext { .. })),
            "{other_purpose:?}"
        );
    }
}

#[test]
fn a_file_without_certificates_is_refused_at_once() {
    assert!(matches!(roots(Some(b"no PEM at all")), Err(UpstreamError::SetUp(_))));
}
