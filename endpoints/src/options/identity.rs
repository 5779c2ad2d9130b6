//! Who may connect, and to whom: options.

use std::path::PathBuf;

use clap::Args;
use rustls::pki_types::UnixTime;

use crate::digest::Digest;
use crate::identity::{
    Clients, CloudIdentity, EdgeIdentity, Identity, IdentityError, KnownClouds, Token, Tokens,
    Trust, Verified, state,
};

/// The kept identity's name in the folder of state.
const CLOUD_FILE: &str = "cloud.pem";
/// The known clouds' name in the folder of state.
const KNOWN_FILE: &str = "known-clouds";

/// Who a cloud is, and whom it lets in.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct CloudIdentityOptions {
    /// Certificate, followed by those of its issuers (PEM) [default: a self-signed one, see --identity]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of --cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Where a self-signed certificate and its key are kept, so that the fingerprint stays the same; made if
    /// it does not exist [default: tensorwire/cloud.pem in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE", conflicts_with = "cert")]
    identity: Option<PathBuf>,
    /// Print the certificate's fingerprint, for --pin of tw-edge, and exit
    #[arg(long)]
    pub print_pin: bool,
    /// Let only edges in that know a token of this file: in each line NAME SHA256 (`tw-lab token` prints
    /// it), or a token
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Let only edges in whose certificate an authority of this file has signed (PEM); with --tokens too,
    /// either will do
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Let only edges in whose certificate has this fingerprint; may be given several times
    #[arg(long, value_name = "SHA256", value_parser = parse_pin)]
    client_pin: Vec<Digest>,
}

/// Which cloud an edge takes for the right one, and how it shows who it is itself.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct EdgeIdentityOptions {
    /// Fingerprint of the cloud's certificate, as tw-cloud prints it; may be given several times, to change
    /// from one to another [default: the fingerprint at the first connection, see --known-clouds]
    #[arg(long, value_name = "SHA256", value_parser = parse_pin, conflicts_with_all = ["ca", "known_clouds", "insecure"])]
    pin: Vec<Digest>,
    /// Authorities that may vouch for the cloud's certificate (PEM), for the name in --connect
    #[arg(long, value_name = "FILE", conflicts_with_all = ["known_clouds", "insecure"])]
    ca: Option<PathBuf>,
    /// The name that the cloud's certificate has to have [default: the one in --connect]
    #[arg(long, value_name = "NAME", requires = "ca")]
    server_name: Option<String>,
    /// Where the fingerprints of clouds are kept at the first connection: a cloud that shows another one
    /// later is refused [default: tensorwire/known-clouds in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    known_clouds: Option<PathBuf>,
    /// Take any cloud for the right one: whoever is on the path can read and forge all
    #[arg(long)]
    insecure: bool,
    /// Token by which the cloud lets us in
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    token_file: Option<PathBuf>,
    /// Certificate by which the cloud lets us in (PEM, with those of its issuers)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Key of --client-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

/// Reads a fingerprint: 64 hexadecimal digits, with colons between or not.
fn parse_pin(text: &str) -> Result<Digest, String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    digits.parse().map_err(|_| {
        "a fingerprint is 64 hexadecimal digits, the SHA-256 digest of the certificate (`tw-cloud \
         --print-pin` prints it)"
            .to_owned()
    })
}

impl CloudIdentityOptions {
    /// The identity that these options ask for, and where it is from, in words.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    pub fn identity(&self) -> Result<(CloudIdentity, String), IdentityError> {
        let (identity, from) = self.own()?;
        let mut clients = Clients::default();
        for pin in &self.client_pin {
            clients = clients.with_pin(*pin);
        }
        if let Some(path) = &self.client_ca {
            clients = clients.with_authorities(path)?;
        }
        let mut cloud = CloudIdentity::new(identity).with_clients(clients);
        if let Some(path) = &self.tokens {
            cloud = cloud.with_tokens(Tokens::from_file(path)?);
        }
        Ok((cloud, from))
    }

    fn own(&self) -> Result<(Identity, String), IdentityError> {
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let identity = Identity::from_files(cert, key, UnixTime::now())?;
            return Ok((identity, format!("from {}", cert.display())));
        }
        let in_state = || state::folder().map(|folder| folder.join(CLOUD_FILE));
        let why = match self.identity.clone().or_else(in_state) {
            Some(path) => match Identity::kept(&path) {
                Ok(identity) => {
                    let from = format!("self-signed, kept in {}", path.display());
                    return Ok((identity, from));
                }
                // Of a folder that was not asked for. What is there but cannot be used is never passed over.
                Err(error @ IdentityError::Write { .. }) if self.identity.is_none() => error,
                Err(error) => return Err(error),
            },
            None => IdentityError::NoHome("say where the certificate is kept with --identity"),
        };
        if self.print_pin {
            return Err(why);
        }
        let words = format!("self-signed, for this run only: {why}");
        Ok((Identity::for_this_run()?, words))
    }
}

impl EdgeIdentityOptions {
    /// The identity that these options ask for, to connect to `cloud`, which is `HOST:PORT`.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    pub fn identity(&self, cloud: &str) -> Result<EdgeIdentity, IdentityError> {
        let mut edge = EdgeIdentity::new(self.trust(cloud)?);
        if let Some(path) = &self.token_file {
            edge = edge.with_token(Token::from_file(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            edge = edge.with_certificate(Identity::from_files(cert, key, UnixTime::now())?);
        }
        Ok(edge)
    }

    fn trust(&self, cloud: &str) -> Result<Trust, IdentityError> {
        if self.insecure {
            return Ok(Trust::Any);
        }
        if !self.pin.is_empty() {
            return Ok(Trust::Pins(self.pin.clone()));
        }
        if let Some(path) = &self.ca {
            let name = self.server_name.as_deref().unwrap_or_else(|| host(cloud));
            return Trust::authorities(path, name);
        }
        let in_state = || state::folder().map(|folder| folder.join(KNOWN_FILE));
        let file = self.known_clouds.clone().or_else(in_state);
        let file = file.ok_or(IdentityError::NoHome(
            "say which cloud is the right one with --pin or --ca, or where to keep known clouds with \
             --known-clouds",
        ))?;
        Trust::first_use(KnownClouds::at(file), cloud)
    }
}

/// The host in `HOST:PORT`.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Why a cloud is taken for the right one, for people.
#[must_use]
pub fn verified_words(verified: &Verified) -> String {
    match verified {
        Verified::Pinned => "it has a pinned certificate".to_owned(),
        Verified::Authority => "an authority vouches for its certificate".to_owned(),
        Verified::Known => "it has the same certificate as at the first connection".to_owned(),
        Verified::First { fingerprint, file } => format!(
            "it is met for the first time: compare its fingerprint {fingerprint} with what it prints; it is \
             kept in {}",
            file.display()
        ),
        Verified::Unchecked => {
            "its certificate is NOT checked: whoever is on the path can read and forge all"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_to_vouch_for_is_the_host() {
        for (address, name) in [
            ("cloud.example:4433", "cloud.example"),
            ("192.0.2.7:4433", "192.0.2.7"),
            ("[2001:db8::7]:4433", "2001:db8::7"),
            ("cloud.example", "cloud.example"),
        ] {
            assert_eq!(host(address), name);
        }
    }

    #[test]
    fn fingerprints_may_be_written_as_other_programs_do() {
        let plain = Digest::of("x").to_string();
        let pairs: Vec<&str> = (0..32).map(|at| &plain[2 * at..2 * at + 2]).collect();
        assert_eq!(parse_pin(&plain), Ok(Digest::of("x")));
        let colons = pairs.join(":").to_uppercase();
        assert_eq!(parse_pin(&colons), Ok(Digest::of("x")));
        assert!(parse_pin("abc").unwrap_err().contains("--print-pin"));
    }
}
