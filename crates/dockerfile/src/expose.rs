//! The words of EXPOSE: ports and ranges of ports (I5).

use std::fmt;

/// A transport protocol that can be exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `tcp`, the default.
    Tcp,
    /// `udp`
    Udp,
    /// `sctp`
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One exposed port; displayed as in the image configuration: `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port in the container.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.protocol)
    }
}

/// What one word exposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Its ports, ascending.
    pub ports: Vec<Port>,
    /// Whether the word also named an address or port of the host, which an image cannot promise:
    /// tolerated, and worth a warning.
    pub names_host: bool,
}

/// Why a word exposes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExposeError {
    /// No port before the protocol or after the host's part.
    #[error("`{word}` names no port")]
    NoPort {
        /// The word.
        word: String,
    },
    /// Neither a number from 0 to 65535 nor a range of such numbers.
    #[error("`{port}` is not a port: expected a number up to 65535, or a range such as 8000-8010")]
    Port {
        /// The part that is wrong.
        port: String,
    },
    /// A range that ends before it begins.
    #[error("the range {first}-{last} ends before it begins")]
    Backwards {
        /// Its first number.
        first: u16,
        /// Its last number.
        last: u16,
    },
    /// The host's range and the container's range differ in length.
    #[error("the ranges of `{word}` differ in length")]
    Lengths {
        /// The word.
        word: String,
    },
    /// A protocol that is none of the three.
    #[error("`{protocol}` is not a protocol: expected tcp, udp or sctp")]
    Protocol {
        /// As written.
        protocol: String,
    },
}

/// Reads one word: `port[-last][/protocol]`, perhaps with `address:` and `host-port:` in front.
pub fn parse(word: &str) -> Result<Exposed, ExposeError> {
    let (address, protocol) = word.rsplit_once('/').unwrap_or((word, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => {
            return Err(ExposeError::Protocol {
                protocol: protocol.to_owned(),
            });
        }
    };
    let (host, container) = match address.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, address),
    };
    if container.is_empty() {
        return Err(ExposeError::NoPort {
            word: word.to_owned(),
        });
    }
    let (first, last) = port_range(container)?;
    if let Some(host) = host {
        let host_port = host.rsplit_once(':').map_or(host, |(_, port)| port);
        if !host_port.is_empty() {
            let (host_first, host_last) = port_range(host_port)?;
            // One container port may be offered on any port of a range of the host.
            if first != last && host_last - host_first != last - first {
                return Err(ExposeError::Lengths {
                    word: word.to_owned(),
                });
            }
        }
    }
    Ok(Exposed {
        ports: (first..=last)
            .map(|number| Port { number, protocol })
            .collect(),
        names_host: host.is_some(),
    })
}

fn port_range(text: &str) -> Result<(u16, u16), ExposeError> {
    let number = |part: &str| {
        // Only digits: Rust would also take a sign.
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| part.parse().ok())
            .flatten()
            .ok_or_else(|| ExposeError::Port {
                port: text.to_owned(),
            })
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first {
        return Err(ExposeError::Backwards { first, last });
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn ports() {
        let check = |word: &str, expected: &str| {
            let found = match parse(word) {
                Ok(exposed) => {
                    let ports: Vec<String> =
                        exposed.ports.iter().map(ToString::to_string).collect();
                    format!(
                        "{}{}",
                        ports.join(" "),
                        if exposed.names_host { " host" } else { "" }
                    )
                }
                Err(error) => format!("{error}"),
            };
            assert_eq!(found, expected, "{word}");
        };
        check("80", "80/tcp");
        check("80/UDP", "80/udp");
        check("80/", "80/tcp");
        check("53/sctp", "53/sctp");
        check("8000-8002", "8000/tcp 8001/tcp 8002/tcp");
        check("127.0.0.1:8080:80", "80/tcp host");
        check("[::1]:8080:80/udp", "80/udp host");
        check("8080:80", "80/tcp host");
        check("127.0.0.1::80", "80/tcp host");
        check(
            "80/icmp",
            "`icmp` is not a protocol: expected tcp, udp or sctp",
        );
        check("/tcp", "`/tcp` names no port");
        check("80-70", "the range 80-70 ends before it begins");
        check("1-3:5-6", "the ranges of `1-3:5-6` differ in length");
        check(
            "65536",
            "`65536` is not a port: expected a number up to 65535, or a range such as 8000-8010",
        );
        check(
            "+80",
            "`+80` is not a port: expected a number up to 65535, or a range such as 8000-8010",
        );
        check(
            "http",
            "`http` is not a port: expected a number up to 65535, or a range such as 8000-8010",
        );
    }
}
