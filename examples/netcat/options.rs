//! The words behind the command.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

#[cfg(feature = "secure")]
use lanpeer::Secret;
use lanpeer::{DataType, PeerBuilder};

const SECRET: &str = "LANPEER_SECRET";

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Default)]
pub struct Options {
    pub addr: String,
    pub data_type: Option<DataType>,
    pub bind: Option<Ipv4Addr>,
    pub port: Option<u16>,
    pub service: Option<String>,
    pub time: Option<Duration>,
    pub wait: Option<Duration>,
    pub quiet: bool,
    pub secret_file: Option<String>,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match &*arg {
                "--json" => options.data_type = Some(DataType::Json),
                "--raw" => options.data_type = Some(DataType::Raw),
                "--bind" => options.bind = Some(value()?.parse()?),
                "--port" => options.port = Some(value()?.parse()?),
                "--service" => options.service = Some(value()?),
                "--time" => options.time = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--wait" => options.wait = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--quiet" => options.quiet = true,
                "--secret-file" => options.secret_file = Some(value()?),
                addr if !addr.starts_with('-') && options.addr.is_empty() => options.addr = arg,
                _ => return Err(format!("what is {arg}?").into()),
            }
        }
        Ok(options)
    }

    #[cfg(feature = "secure")]
    pub fn protect(&self, builder: PeerBuilder) -> Result<PeerBuilder> {
        Ok(match &self.secret_file {
            Some(path) => builder.secret(Secret::from_file(path)?),
            None if std::env::var_os(SECRET).is_some() => builder.secret(Secret::from_env(SECRET)?),
            None => builder,
        })
    }

    /// What is meant to be encrypted must not go in the clear.
    #[cfg(not(feature = "secure"))]
    pub fn protect(&self, builder: PeerBuilder) -> Result<PeerBuilder> {
        match self.secret_file.is_some() || std::env::var_os(SECRET).is_some() {
            true => Err("a secret needs a build with `--features secure`".into()),
            false => Ok(builder),
        }
    }

    pub fn say(&self, what: String) {
        if !self.quiet {
            eprintln!("{what}");
        }
    }
}
