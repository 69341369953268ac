//! The values of the labels by which failures, refusals and waits are counted.

/// Why a session to an exchange ended or did not begin: label `cause` of
/// `connector_connection_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionErrorKind {
    /// The name of the exchange, or of the proxy that leads there, has no address for the resolver.
    /// No breaker counts it.
    Dns,
    /// TCP was refused, reset or timed out.
    Tcp,
    /// The TLS handshake failed or the peer sent garbage.
    Tls,
    /// The proxy that leads to the exchange was not reached, refused, or did not answer.
    Proxy,
    /// The WebSocket upgrade was refused or malformed.
    Handshake,
    /// The peer broke the WebSocket protocol.
    Protocol,
    /// The peer closed the session.
    Closed,
    /// Nothing arrived for too long, or a ping went unanswered.
    Timeout,
    /// Acknowledged subscriptions never delivered.
    Silent,
    /// The exchange answered with an error that ends the session.
    Venue,
    /// This host had no file, memory or room in a queue for it. It proves nothing about the
    /// exchange, and no breaker counts it.
    Local,
}

impl ConnectionErrorKind {
    /// Every kind, in label order.
    pub const ALL: [Self; 11] = [
        Self::Dns,
        Self::Tcp,
        Self::Tls,
        Self::Proxy,
        Self::Handshake,
        Self::Protocol,
        Self::Closed,
        Self::Timeout,
        Self::Silent,
        Self::Venue,
        Self::Local,
    ];

    /// Returns whether an attempt that failed so may have reached the exchange, or the proxy that
    /// leads there. One that did not is no evidence about the exchange and costs no budget.
    pub fn may_have_reached(self) -> bool {
        !matches!(self, Self::Dns | Self::Local)
    }

    /// The value of the label `error_type`, as the Python connector has it: whether the session did
    /// not come up, or ended while it was read.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Dns | Self::Tcp | Self::Tls | Self::Proxy | Self::Handshake | Self::Local => {
                "connection_error"
            }
            Self::Protocol | Self::Closed | Self::Timeout | Self::Silent | Self::Venue => {
                "receive_error"
            }
        }
    }

    /// The value of the label `cause`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Silent => "silent",
            Self::Venue => "venue",
            Self::Local => "local",
        }
    }
}

/// Why a connection to the client port was refused: label `reason` of
/// `connector_clients_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// `CONNECTOR_WSS_CLIENTS_MAX` is reached: HTTP 503.
    Full,
    /// `CONNECTOR_WSS_CONNECTIONS_PER_IP_MAX` is reached: HTTP 429.
    Address,
    /// The server is going down: HTTP 503.
    Draining,
    /// The opening request did not arrive in time: HTTP 408.
    Timeout,
    /// TLS failed, or was spoken where plain text was expected, or the other way round.
    Tls,
    /// The opening request is malformed or no upgrade: HTTP 4xx or 505.
    Request,
    /// A name in `Host` that is not the server's, while it listens on loopback: HTTP 403.
    Host,
    /// A browser's page that is neither of the request's own host nor in `CONNECTOR_WSS_ORIGINS`:
    /// HTTP 403.
    Origin,
    /// A token that is none of `CONNECTOR_WSS_TOKENS_FILE`: HTTP 401, or Close 1008 where it came
    /// in a message.
    Token,
}

impl RefusedBy {
    /// Every reason, in label order.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Address,
        Self::Draining,
        Self::Timeout,
        Self::Tls,
        Self::Request,
        Self::Host,
        Self::Origin,
        Self::Token,
    ];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Address => "address",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Request => "request",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Token => "token",
        }
    }
}

/// Why a message from an exchange was not understood: label `kind` of
/// `connector_decode_errors_total`. The message is dropped; the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// Not JSON.
    Json,
    /// JSON of a shape that the dialect does not know.
    Unknown,
    /// A known message lacks a field.
    MissingField,
    /// A field has the wrong type or a value out of range.
    BadField,
    /// A number is no plain decimal.
    BadNumber,
    /// A number has more digits than are carried; it is never rounded.
    NumberTooLong,
    /// The window's start is no multiple of the interval.
    Misaligned,
    /// A time lies ahead of the market's clock, as its other streams and REST show it.
    Future,
    /// A candle that cannot be: its high below its low, its open or close outside of them, a price
    /// of zero where something was traded, or no trade where something was.
    Impossible,
    /// A candle of a stream that another session carries.
    Foreign,
}

impl DecodeErrorKind {
    /// Returns whether the undecoded message may have been a push of the session that it came on.
    pub fn is_of_push(self) -> bool {
        !matches!(self, Self::Unknown | Self::Foreign)
    }

    /// Every kind, in label order.
    pub const ALL: [Self; 10] = [
        Self::Json,
        Self::Unknown,
        Self::MissingField,
        Self::BadField,
        Self::BadNumber,
        Self::NumberTooLong,
        Self::Misaligned,
        Self::Future,
        Self::Impossible,
        Self::Foreign,
    ];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Unknown => "unknown",
            Self::MissingField => "missing_field",
            Self::BadField => "bad_field",
            Self::BadNumber => "bad_number",
            Self::NumberTooLong => "number_too_long",
            Self::Misaligned => "misaligned",
            Self::Future => "future",
            Self::Impossible => "impossible",
            Self::Foreign => "foreign",
        }
    }
}

/// What the next session of a market waits for: of several things the one that lasts longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The pause after a lost session or a failed attempt.
    Backoff = 1,
    /// The breaker is open, or a trial of it is under way.
    Breaker,
    /// The exchange denies new sessions, by a limit or a block.
    Ban,
    /// What the exchange allows one address in new sessions is used up.
    Budget,
}

impl WaitReason {
    /// Every reason, as the gauge counts them, from 1.
    pub const ALL: [Self; 4] = [Self::Backoff, Self::Breaker, Self::Ban, Self::Budget];

    /// The reason that a gauge shows; `None`: nothing waits.
    pub fn of_gauge(value: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|&reason| reason as i64 == value)
    }

    /// As `/ready` and `/api/state` name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::Breaker => "breaker",
            Self::Ban => "ban",
            Self::Budget => "budget",
        }
    }

    /// What it means, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Backoff => "the last attempt failed",
            Self::Breaker => "many attempts in a row failed",
            Self::Ban => "the exchange denies new sessions to this address",
            Self::Budget => {
                "what the exchange allows one address in new sessions is used up, or kept for \
                 series that have delivered"
            }
        }
    }
}
