//! Every bound that is not configuration: buffers, queues, loops, waiting times. Each doc gives the
//! source of the number and what happens when the bound is reached. Const asserts hold the
//! relations.

use std::time::Duration;

/// Instruments that one process knows at a time. Reached: the instrument that has rested longest is
/// forgotten; if all are wanted, the subscription is rejected with an error. Source: about 12,000
/// symbols are listed on the five exchanges together; with room for other intervals.
pub const INSTRUMENTS_MAX: usize = 32_768;

/// Instruments with names that neither the exchange's list nor a candle has confirmed. Reached:
/// further such names are rejected with an error, confirmed ones are not. Source: half of the table
/// stays free for names that exist; two whole requests for derived candles fit before a list has
/// arrived.
pub const UNCONFIRMED_MAX: usize = 16_384;
const _: () = assert!(UNCONFIRMED_MAX <= INSTRUMENTS_MAX / 2);
const _: () = assert!(UNCONFIRMED_MAX >= 2 * 2 * REQUEST_SYMBOLS_MAX);

/// Series of one client with symbols that the exchange's list lacks and that have delivered
/// nothing; also limited to 1/64 of what is left of [`UNCONFIRMED_MAX`]. Reached: the others are
/// rejected with an error. Source: more symbols than an exchange adds between two reads of its
/// list.
pub const CLIENT_UNCONFIRMED_MAX: usize = 64;

/// As [`CLIENT_UNCONFIRMED_MAX`], while the exchange's list is not known; also limited to half of
/// what is left of [`UNCONFIRMED_MAX`]. Source: one whole request.
pub const CLIENT_UNLISTED_MAX: usize = REQUEST_SYMBOLS_MAX;

/// What a client may spend at once on names that are new to their exchange: a listed name costs 1,
/// another one [`UNLISTED_NAME_COST`]. Reached: `too_many_new_symbols` with the time of the next
/// try. Source: every symbol of Binance spot in seven intervals; or four times as many invented
/// names as may be tried at once.
pub const CLIENT_NEW_NAMES_BURST: u32 = 16_384;
const _: () = assert!(CLIENT_NEW_NAMES_BURST as usize >= 4 * REQUEST_SYMBOLS_MAX);

/// What a client earns of it per second. Source: what the most generous exchange accepts from one
/// address: Binance 300 sessions in five minutes, of 50 symbols each.
pub const CLIENT_NEW_NAMES_PER_SECOND: u32 = 50;

/// The cost of a name that the exchange's list lacks. Source: with one in 1.3 s a client causes 47
/// REST requests a minute, a sixth of what Binance's futures leave for new names.
pub const UNLISTED_NAME_COST: u32 = 64;
const _: () = assert!(
    CLIENT_NEW_NAMES_BURST as usize / UNLISTED_NAME_COST as usize >= CLIENT_UNCONFIRMED_MAX
);

/// How long a name that the exchange or its list has rejected is answered from memory. Source:
/// longer than the pause of a program that retries in a loop; a new listing waits for it at most
/// this long.
pub const REFUSED_PATIENCE: Duration = Duration::from_secs(60);

/// Rejected names remembered at once, each with up to 1.7 KB of text. Above it the oldest is
/// forgotten, and the exchange is asked for it again. Source: a minute's names of a hundred
/// clients, at [`CLIENT_UNCONFIRMED_MAX`].
pub const REFUSED_NAMES_MAX: usize = 8_192;

/// How long an instrument that nothing wants is kept after its stream has ended, if it has
/// delivered. It keeps its watermark, so that no closed candle is published twice. Source: what an
/// exchange pushes after a subscription is at most one window old, and is pushed at the end of a
/// window.
pub const INSTRUMENT_REST: Duration = Duration::from_secs(120);

/// Share of [`INSTRUMENTS_MAX`] or [`UNCONFIRMED_MAX`], in percent, at which the log warns once,
/// until the share has fallen below [`TABLE_CALM_PERCENT`]. Source: a fifth of the table is time to
/// act.
pub const TABLE_WARNING_PERCENT: usize = 80;
/// See [`TABLE_WARNING_PERCENT`].
pub const TABLE_CALM_PERCENT: usize = 70;
const _: () = assert!(TABLE_CALM_PERCENT < TABLE_WARNING_PERCENT);

/// Shards of one process. Source: at most one per CPU of the largest hosts in use.
pub const SHARDS_MAX: usize = 64;

/// Slots in a shard's ring to the fan-out core (256 bytes each, so 2 MiB).
/// Source: 2,000 series closing at once, twice, on one shard. Full: the shard conflates open
/// candles and queues closed ones up to `CONNECTOR_CLOSED_QUEUE_MAXSIZE`.
pub const RING_SLOTS: usize = 8_192;

/// The largest `CONNECTOR_CLOSED_QUEUE_MAXSIZE`, and the meaning of 0: 256 MB per shard, allocated
/// only as needed. Source: half an hour of 32,768 series. Reached: the shard's sockets are not read
/// until the fan-out core has taken some candles.
pub const CLOSED_QUEUE_MAX: usize = 1_000_000;

/// The largest `CONNECTOR_MAX_SYMBOL_PER_WS`, and the meaning of 0: the most streams per session
/// that an exchange allows. Source: Binance's 1024. The limit of each exchange holds too.
pub const SYMBOLS_PER_SESSION_MAX: usize = 1_024;

/// Open candles that may wait for a shard's ring in order. Beyond: conflated, one per series.
/// Source: two reads of [`READ_BYTES_MAX`] full of 300-byte pushes, with room.
pub const OPEN_BURST_MAX: usize = 1_024;
const _: () = assert!(OPEN_BURST_MAX >= 2 * READ_BYTES_MAX / 300);

/// Commands under way to one shard. Full: the fan-out keeps them and sends them on a later turn.
pub const COMMANDS_MAX: usize = 65_536;
const _: () = assert!(COMMANDS_MAX >= 2 * INSTRUMENTS_MAX, "every instrument, on and off");

/// Session events under way from the shards. Full: the shard keeps them for a later turn.
pub const FEED_EVENTS_MAX: usize = 4_096;

/// Certificates and tokens under way to the fan-out core. Full: the reload is logged as failed, to
/// be tried again.
pub const RENEWALS_MAX: usize = 16;

/// Notices under way to the log. Full: the notice is dropped and counted.
pub const NOTICES_MAX: usize = 4_096;

/// Requests and answers under way between a shard and the ops core. Full: asked again later.
pub const OPS_REQUESTS_MAX: usize = 256;

/// Symbols that one client request may name. Reached: rejected with the field's name.
/// Source: more than any exchange lists for one contract type (Gate.io spot, 2,600).
pub const REQUEST_SYMBOLS_MAX: usize = 4_096;

/// Bytes of one symbol. Reached: rejected. Source: the longest listed one has 24 (OKX options).
pub const SYMBOL_BYTES_MAX: usize = 64;

/// Bytes of one message from a client. Reached: close 1009.
/// Source: the largest useful request, 4,096 symbols of 12 characters.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one message to a client. Source: websocat splits at 64 KiB (design §4).
pub const SERVER_MESSAGE_BYTES_MAX: usize = 60_000;

/// Bytes of an HTTP head, from clients on either port. Reached: 431.
/// Source: Nginx and Apache default to 8 KiB a line.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of an HTTP head. Reached: 431.
pub const HTTP_HEADERS_MAX: usize = 100;

/// Time for an HTTP head to arrive; on the client port `CONNECTOR_WSS_HANDSHAKE_TIMEOUT` changes
/// it. Reached: 408 and close. Source: many round trips of a slow network.
pub const HTTP_HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one message from an exchange. Reached: the session is lost and starts again.
/// Source: OKX's whole instrument list over WebSocket is below 4 MiB; a kline push is 300 bytes.
pub const VENUE_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes for an exchange that its socket does not take. Reached: the session is lost and a new one
/// starts. Source: the subscribe messages of 1,000 streams, 200 bytes each.
pub const VENUE_UNSENT_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(VENUE_UNSENT_BYTES_MAX < VENUE_MESSAGE_BYTES_MAX);

/// Windows of one series that are repaired or held back at most, counted from the newest. Older
/// ones are published as a gap and never repaired. Source: a day of minutes, as far back as OKX's
/// newest candles reach, whatever their interval.
pub const REPAIR_WINDOWS_MAX: i64 = 1_440;

/// Closed windows of one series that wait for an earlier one. Above it the missing windows are
/// published as a gap at once, without waiting for REST. Source: the rows of one REST answer.
pub const HELD_WINDOWS_MAX: usize = REST_ROWS_MAX;
const _: () = assert!((HELD_WINDOWS_MAX as i64) < REPAIR_WINDOWS_MAX);

/// Time to wait for the last series of a market after the first has closed its window. Reached: the
/// `mark` names the absent series. Source: REST is asked about a window 5 s after its end.
pub const MARK_PATIENCE: Duration = Duration::from_secs(10);

/// Absent series that a `mark` names; the others are counted. Source: a symbol and its reason have
/// up to 130 bytes, escaped.
pub const MARK_ABSENT_MAX: usize = 400;
const _: () = assert!(MARK_ABSENT_MAX * (2 * SYMBOL_BYTES_MAX + 20) <= SERVER_MESSAGE_BYTES_MAX);

/// Minutes of a derived candle, and minutes of history for it, at most. Longer intervals are the
/// exchange's own, or are not available. Source: as far back as minutes are repaired.
pub const FOLD_MINUTES_MAX: usize = 1_440;
const _: () = assert!(FOLD_MINUTES_MAX as i64 <= REPAIR_WINDOWS_MAX);

/// Windows asked for in one REST request. Source: beyond a hundred the exchanges' weights grow, and
/// an answer is published in one turn.
pub const REST_ROWS_MAX: usize = 100;

/// REST requests of one shard under way to one exchange. More wait, the urgent before the others.
/// Source: four answers of 0.2 s are 1,200 a minute.
pub const RESTS_ASKED_MAX: usize = 4;

/// Smallest and largest `CONNECTOR_HISTORY_CANDLES`. Source: a correction names the values it
/// replaces, which are looked up there; a day of minutes is 0.4 MB a series.
pub const HISTORY_CANDLES_MIN: usize = 16;
/// See [`HISTORY_CANDLES_MIN`].
pub const HISTORY_CANDLES_MAX: usize = 1_440;

/// How long a client whose subscription asks for `history` or `since` receives nothing else of the
/// series while REST makes no progress: since its subscription, or since REST last answered with a
/// past window of any series of that market, because series take turns. Reached: the known windows
/// are sent, the others as a gap, or `since` is rejected; then live candles. Source: by then a REST
/// request was answered, or repeated twice; a client that waits longer takes the series for dead.
pub const PAST_PATIENCE: Duration = Duration::from_secs(10);

/// As [`PAST_PATIENCE`], in total, however busy REST is. Also how long a shard keeps asking for
/// past windows that it does not get. Source: by then a minute's weight of an exchange is used up.
pub const PAST_PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Candles in one message from an exchange. Above it: a decode error, and the whole message is
/// dropped. Source: two at the change of the minute (Bybit, Gate.io), and room for a dialect that
/// repeats a few minutes.
pub const KLINES_PER_MESSAGE_MAX: usize = 16;

/// Bytes read from one socket in one turn. The rest waits for the next turn, so that one busy
/// socket cannot starve the others. Source: a minute's close of 50 symbols is 16 KiB.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// Storage of an open exchange session for bytes that were read but not yet decoded; a longer
/// message takes more while it is here. Source: a whole read after the unfinished message of the
/// read before.
pub const VENUE_QUEUE_BYTES: usize = 2 * READ_BYTES_MAX;

/// Clients that one process accepts; fewer with `CONNECTOR_WSS_CLIENTS_MAX`. Reached: HTTP 503 with
/// `Retry-After`, at once. Source: 20,000 open files are a common hard limit; half are left for the
/// rest.
pub const CLIENTS_MAX: usize = 10_000;

/// User-space memory of one client beyond what it is owed. Source: an idle one takes 2.4 KB
/// (tests/memory), and some of its requests are kept.
///
/// The process as a whole takes at most [`FIXED_BYTES_MAX`] + clients × ([`CLIENT_BYTES_MAX`] + the
/// outbox bound), and [`TLS_BYTES_MAX`] more for each client with TLS. The outbox bound is
/// [`SHARE_BYTES_MAX`] + `CONNECTOR_CLIENT_BUFFER_MAX` for a client that does not keep up, and
/// nothing for one that does. Frames owed to many clients are stored once, so that slow clients of
/// the same series cost far less. Not included: 64 bytes for each series of a client, half a
/// request of [`CLIENT_MESSAGE_BYTES_MAX`] or half a TLS handshake of that length, and what the
/// kernel keeps for sockets ([`CLIENT_UNSENT_BYTES_MAX`]).
pub const CLIENT_BYTES_MAX: usize = 8 * 1024;

/// What TLS adds to [`CLIENT_BYTES_MAX`]. Source: 7.0 KB for an idle client (tests/memory); 4 KiB
/// of that are the buffer that rustls reads into.
pub const TLS_BYTES_MAX: usize = 8 * 1024;

/// User-space memory of the process without clients, for up to a thousand series in sessions of the
/// default `CONNECTOR_MAX_SYMBOL_PER_WS`. Each further series costs 256 bytes for each of
/// `CONNECTOR_HISTORY_CANDLES`, each further session [`VENUE_QUEUE_BYTES`]. Source: for each of a
/// few shards one ring of 2 MiB and a queue of 1 MiB before it; twice [`RUN_BYTES_MAX`],
/// [`SPARE_BUFFERS_MAX`], [`LONG_BUFFERS_MAX`], [`SPARE_FRAMES_MAX`]; the history and the sessions
/// of the series.
pub const FIXED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Connections beyond [`CLIENTS_MAX`] that get an answer before they are closed. Reached: closed
/// without an answer. Source: a wave of clients that connect again.
pub const REFUSALS_MAX: usize = 256;

/// Files that the process is taken to have open beside its clients: sessions and requests to
/// exchanges, connections to the ops port, logs, rings. Fewer left: half of what is left, and fewer
/// clients are admitted, which is logged at start. Source: [`OPS_CONNECTIONS_MAX`], and a session
/// for each fifty of [`INSTRUMENTS_MAX`], rounded up.
pub const FILES_BESIDE_CLIENTS: usize = 1_024;
/// Files that an executor opens after the limit was divided. Source: three io_urings, an epoll, and
/// room for what a newer kernel or glommio adds.
pub const FILES_PER_EXECUTOR: usize = 6;
const _: () = assert!(FILES_BESIDE_CLIENTS >= OPS_CONNECTIONS_MAX + INSTRUMENTS_MAX / 50);

/// Series one client may subscribe, over all its subscriptions; fewer with
/// `CONNECTOR_WSS_SUBSCRIPTIONS_MAX`. Reached: refused, naming the limit.
/// Source: every instrument of the process once.
pub const CLIENT_SERIES_MAX: usize = INSTRUMENTS_MAX;
const _: () = assert!(CLIENT_SERIES_MAX >= REQUEST_SYMBOLS_MAX);

/// Subscriptions of one client to one series. Reached: rejected with the symbol. Source: each is
/// checked for every update before later clients receive it; a program has a few.
pub const CLIENT_SAME_SERIES_MAX: usize = 16;

/// Symbols of a request that count as one more message, see [`CLIENT_MESSAGES_BURST`] and
/// [`CLIENT_MESSAGES_PER_TURN`]. Source: the largest market with all its intervals, 12 times 2,600
/// symbols, is within the burst; to take a symbol costs a tenth of a message.
pub const SYMBOLS_PER_MESSAGE: usize = 16;
const _: () = assert!(12 * 2_600 / SYMBOLS_PER_MESSAGE < CLIENT_MESSAGES_BURST as usize);

/// Tokens in `CONNECTOR_WSS_TOKENS_FILE`. Above it the file is rejected. Source: a comparison looks
/// at every token, at 30 ns each.
pub const TOKENS_MAX: usize = 1_024;

/// Bytes of one token. Above it the file is rejected. Source: 32 random bytes in hex have 64; a
/// signed token, which has no use here, has more.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Bytes of a file with tokens, certificates or a key. Above it the file is rejected. Source:
/// [`TOKENS_MAX`] tokens of full length, each with a comment of the same length.
pub const CREDENTIALS_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(CREDENTIALS_BYTES_MAX >= 2 * TOKENS_MAX * (TOKEN_BYTES_MAX + 2));

/// Default of `CONNECTOR_WSS_IDLE_TIMEOUT`. Source: longer than a person at a prompt thinks; a
/// program that wants to wait without a subscription sends `ping` now and then.
pub const CLIENT_IDLE_PATIENCE: Duration = Duration::from_secs(300);

/// WebSocket messages of one client handled in one turn. The others wait for the next turn, so that
/// one busy client cannot starve the rest. Source: at 2 µs each, about 0.1 ms.
pub const CLIENT_MESSAGES_PER_TURN: u32 = 64;

/// Messages that a client may send at once, and then per second. Reached: its socket is not read
/// for [`CLIENT_PAUSE`]. Source: one request per symbol of the largest market; afterwards a person
/// or a heartbeat.
pub const CLIENT_MESSAGES_BURST: u32 = 4_096;
/// See [`CLIENT_MESSAGES_BURST`].
pub const CLIENT_MESSAGES_PER_SECOND: u32 = 200;

/// How long a client that has used up its messages is not read. Source: it earns ten more.
pub const CLIENT_PAUSE: Duration = Duration::from_millis(50);

/// Such pauses in a row, without a second's allowance between them. Reached: error and close 1008.
/// Source: half a minute of waiting only, some 6,000 messages beyond the burst.
pub const CLIENT_PAUSES_MAX: u32 = 600;

/// Bytes of a request's `id`. Reached: refused. Source: a UUID has 36.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Bytes made ready for one client's socket at a time. The rest stays owed, and its open candles
/// are conflated. Source: a default socket send buffer takes more in one write.
pub const READY_BYTES_MAX: usize = 64 * 1024;

/// Bytes that the kernel holds unsent for one client. Reached: its socket takes no more, and later
/// frames stay owed. Source: twice [`READY_BYTES_MAX`], so that it never runs empty; by default
/// Linux takes up to `tcp_wmem`'s 4 MiB, of quotes that would be old when sent.
pub const CLIENT_UNSENT_BYTES_MAX: u32 = 128 * 1024;
const _: () = assert!(CLIENT_UNSENT_BYTES_MAX as usize >= 2 * READY_BYTES_MAX);

/// Storage that a client's outgoing bytes keep while there are none. Source: two quotes, so that
/// a single update allocates nothing.
pub const IDLE_BUFFER_BYTES: usize = 1024;

/// Storage lent to a client that has more than [`IDLE_BUFFER_BYTES`] to send, until it is sent.
/// Source: what may be ready, and the frame that goes beyond it.
pub const SPARE_BUFFER_BYTES: usize = READY_BYTES_MAX + 4 * 1024;

/// Such buffers kept for the next burst. Above it: freed. Source: 17 MiB; a hundred clients that
/// take a minute's close of 2,000 series at once, twice over.
pub const SPARE_BUFFERS_MAX: usize = 256;

/// Storage lent to a client with a socket that has left more than [`SPARE_BUFFER_BYTES`] of its
/// share, until that is sent. Source: a whole share, and the frame that goes beyond it.
pub const LONG_BUFFER_BYTES: usize = SHARE_BYTES_MAX + 4 * 1024;

/// Such buffers kept for the next burst. Above it: freed. Source: 16 MiB; of a hundred clients with
/// large shares, some sockets have no room for all of it.
pub const LONG_BUFFERS_MAX: usize = 64;

/// Bytes ready for one client that shares this turn's frames with others: they need no memory of
/// its own as long as its socket takes them. Reached: the rings are read again in the next turn.
/// What the socket does not take is copied. Source: at the minute boundary a core reads and
/// publishes some 200 KiB a turn, and each write has a fixed cost: with 64 KiB a turn the boundary
/// takes a quarter longer (benches/wire/boundary.rs).
pub const SHARE_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(SHARE_BYTES_MAX >= READY_BYTES_MAX);

/// Bytes published in one turn that clients share instead of getting copies. Above it: copies; from
/// half of it on, the rings are read again in the next turn. Source: [`SHARE_BYTES_MAX`] for four
/// groups of clients that have nothing in common.
pub const RUN_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(RUN_BYTES_MAX >= 4 * SHARE_BYTES_MAX);

/// Pieces of shared frames that one client may have in one turn. Above it: a copy. Source: a client
/// that wants less than every other series gets few bytes, and one that wants more has few pieces.
pub const SHARED_PARTS_MAX: usize = 16;

/// Clients closed in one turn because they are owed too much; the others receive nothing more and
/// wait. Source: each takes some 30 µs, and thousands that stop reading together are too slow
/// together.
pub const SLOW_CUT_MAX: usize = 16;

/// Bytes made ready for all clients before the driver writes to them. Reached: the rings are read
/// again after that. Source: 6 KiB for each of [`CLIENTS_MAX`] clients.
pub const TURN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Buffers of frames that no client is owed, kept for the next frames. Above it: freed. Source: 4
/// MiB of quotes; a minute's close of 2,000 series, four times over.
pub const SPARE_FRAMES_MAX: usize = 8_192;

/// Pause before a write to a client is repeated that failed because the kernel lacked memory.
/// Source: long enough for other bytes to be sent, short for a person.
pub const SEND_PAUSE: Duration = Duration::from_millis(50);

/// Time for a client to take our last bytes, Close included. Reached: the socket is closed.
/// Source: a client that still reads does so within a second; five allow for a bad network.
pub const CLOSE_WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// A client that has sent Close 1000 gets its first quotes within this time (design §4).
pub const CLOSE_NORMAL_LINGER: Duration = Duration::from_secs(3);

/// How long a stream lives on after its last client has left. Source: a client's restart takes
/// seconds; a new subscription costs the exchange's budget.
pub const UNSUBSCRIBE_LINGER: Duration = Duration::from_secs(15);

/// A core without work parks at most this long, so that its executor's timers run (design §2).
pub const PARK_MAX: Duration = Duration::from_millis(5);

/// A pause that `CONNECTOR_WAIT=adaptive` spins through if most of the latest pauses were as short.
/// Reached: the core parks. Source: parking and waking costs some 10 µs.
pub const ADAPTIVE_SPIN: Duration = Duration::from_micros(20);

/// A core whose heartbeat is older is unhealthy. Source: a thousand times [`PARK_MAX`].
pub const HEARTBEAT_STALE: Duration = Duration::from_secs(5);

/// After our Close and FIN, how long the peer's bytes are still read, so that no reset destroys
/// what we sent (design §4).
pub const CLOSE_DRAIN: Duration = Duration::from_secs(1);

/// Pause between two clients that are asked to move to a successor, at most: 2,000 a second.
/// Source: a quarter of what one fan-out core admits with TLS. If that would take longer than
/// `CONNECTOR_DRAIN_TIMEOUT`, the pause is shorter.
pub const MOVE_INTERVAL: Duration = Duration::from_micros(500);

/// How long a successor waits for live sessions of the preloaded instruments before it takes over.
/// Reached: it takes over without them. Source: a session is up within a second or two after its
/// name is resolved.
pub const TAKEOVER_WARM_UP: Duration = Duration::from_secs(5);
const _: () = assert!(TAKEOVER_WARM_UP.as_secs() < TAKEOVER_PATIENCE.as_secs());

/// Pause after a failed takeover. Source: long enough for a log, short for a person.
pub const TAKEOVER_PAUSE: Duration = Duration::from_millis(200);

/// How long the old server waits for its successor to serve. Reached: the old server logs it and
/// keeps serving. Source: a start takes a second; a busy host, and room.
pub const TAKEOVER_PATIENCE: Duration = Duration::from_secs(30);

/// Addresses of a name that are tried; the others are left out. Source: an attempt lasts ten
/// seconds, and a silent address takes 0.4 of them.
pub const ADDRESSES_MAX: usize = 16;

/// Time for the name servers to answer. After it the name has only the addresses that were found
/// before. Source: half of [`CONNECT_PATIENCE`], so that an attempt goes on with those.
pub const LOOK_UP_PATIENCE: Duration = Duration::from_secs(5);

/// Time for a TCP connection and its TLS and WebSocket handshakes to an exchange.
/// Source: intercontinental round trips are 0.3 s; six of them, five times over.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Longest backoff between two attempts to connect, and longest open time of a breaker.
/// Source: design §3.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Bytes of the REST answer with an instrument list, decompressed; it is read as a stream and never
/// held. Reached: the list stays as it was. Source: Binance's spot exchangeInfo had 17 MB in 2026,
/// the largest of all.
pub const LIST_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Spellings that clients may use for one series at the same time, beside our own. Reached: a
/// request with another one is rejected for that series. Source: a handful at Hyperliquid, a dozen
/// words for contract types at OKX.
pub const SERIES_SPELLINGS_MAX: usize = 24;

/// Time for all main pages of an instrument list; each read may take `CONNECTOR_REST_TIMEOUT`.
/// Reached: the list stays as it was. Source: 17 MB at 2 Mbit/s.
pub const LIST_PATIENCE: Duration = Duration::from_secs(90);

/// Main pages of one list. Reached: the list stays as it was. Source: Bybit's linear list has two
/// of 500.
pub const LIST_PAGES_MAX: usize = 64;

/// Parts of one list that are known at once. Reached: symbols of further parts are tried unchecked.
/// Source: over 200 builders' exchanges were seen on Hyperliquid.
pub const LIST_PARTS_MAX: usize = 512;

/// Bytes of a REST answer beside its rows, and of each row; together the longest body that is read.
/// Reached: the answer is an error. Source: the longest row is Binance's, with up to 180 bytes; an
/// error is a sentence.
pub const REST_BODY_BYTES: usize = 4 * 1024;
/// See [`REST_BODY_BYTES`].
pub const REST_ROW_BYTES: usize = 512;

/// CPU numbers that configuration may name. Source: the largest Linux hosts in use.
pub const CPUS_MAX: usize = 1_024;

/// Smallest and largest `CONNECTOR_CLIENT_BUFFER_MAX`, in bytes. Source: one message must fit; a
/// gigabyte for one client is a mistake.
pub const CLIENT_BUFFER_BYTES_MIN: usize = 64 * 1024;
/// See [`CLIENT_BUFFER_BYTES_MIN`].
pub const CLIENT_BUFFER_BYTES_MAX: usize = 1024 * 1024 * 1024;
const _: () = assert!(CLIENT_BUFFER_BYTES_MIN >= SERVER_MESSAGE_BYTES_MAX);

/// Connections to the ops port at once. Reached: the connection with the earliest deadline makes
/// room. Source: a handful of scrapers and probes, and room to outlast a slow-header attack.
pub const OPS_CONNECTIONS_MAX: usize = 256;

/// Bytes of answers that one ops connection may leave unread. Reached: it is not read until it
/// takes them. Source: one scrape of five exchanges and 64 shards is below 144 KiB; the page, which
/// is not copied, is below 256 KiB (`cores/ops/dashboard.rs`).
pub const OPS_OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Send buffer of an ops connection, in bytes; the kernel takes twice as much for it. Reached: the
/// rest waits in our memory. Source: a client that reads has the page in a few turns; for one that
/// does not, the low-priority core copies some 64 KiB instead of the whole page.
pub const OPS_SEND_BUFFER_BYTES: usize = 32 * 1024;

/// How long an ops connection may stay without a request. Reached: closed. Source: Prometheus
/// scrapes every 15–60 s and keeps the connection.
pub const HTTP_IDLE_PATIENCE: Duration = Duration::from_secs(75);

/// Updates shown at `/debug/slowest`, and kept of each [`SLOWEST_PERIOD`].
/// Source: a screen.
pub const SLOWEST_UPDATES: usize = 16;

/// The fan-out core hands the slowest updates over this often.
pub const SLOWEST_PERIOD: Duration = Duration::from_secs(1);

/// Age up to which a slow update is shown.
pub const SLOWEST_WINDOW: Duration = Duration::from_secs(60);

/// Sets of slow updates that may wait for the ops core. Reached: the next set covers a longer time.
/// Source: the ops core looks many times a second.
pub const SLOWEST_WAITING_MAX: usize = 4;
const _: () = assert!(SLOWEST_PERIOD.as_nanos() > OPS_TURN_MAX.as_nanos());

/// The ops core looks at notices, deadlines and its stop flag at least this often.
pub const OPS_TURN_MAX: Duration = Duration::from_millis(50);

/// Bytes of `connector.log` before it becomes `connector.log.1`, and how many such are kept.
/// Source: 50 MB in all, weeks of an ordinary day's notices.
pub const LOG_FILE_BYTES_MAX: u64 = 10_000_000;
/// See [`LOG_FILE_BYTES_MAX`].
pub const LOG_FILES_KEPT: usize = 4;

/// Lines under way to stderr or to the file. Full: the line is dropped, so that a stuck pipe or
/// disk stops no thread.
pub const LOG_LINES_MAX: usize = 8_192;

/// Texts that are watched for repetition at once. Full: further texts are written as they come,
/// within [`LOG_EVENT_BURST`].
pub const LOG_REPEATS_MAX: usize = 256;

/// A notice with the text of one written less than this ago is counted, not written. While it
/// repeats, the count is logged after this time, then after twice and four times as long, and at
/// last once per [`LOG_REPEAT_WINDOW_MAX`].
pub const LOG_REPEAT_WINDOW: Duration = Duration::from_secs(1);
/// See [`LOG_REPEAT_WINDOW`].
pub const LOG_REPEAT_WINDOW_MAX: Duration = Duration::from_secs(60);

/// Lines about one event in one market (or about one event without a market) written at once. Above
/// it they are counted; the count and the last text are written with the next line that has room,
/// one per [`LOG_EVENT_PAUSE`]. Source: a screen; and if every session of fifteen markets is lost
/// again and again, ten lines a second, so that [`LOG_FILE_BYTES_MAX`] and the files kept hold half
/// a night.
pub const LOG_EVENT_BURST: u32 = 20;
/// See [`LOG_EVENT_BURST`].
pub const LOG_EVENT_PAUSE: Duration = Duration::from_secs(3);

/// How long a REST or DNS worker waits for a shard to take its answer. After it the answer is
/// dropped, and the shard asks again after its own deadline. Source: a thousand times [`PARK_MAX`].
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Connections that the kernel holds for us between two accepts. Reached: the client's kernel tries
/// again. Source: a thousand clients that come back at once, with room; `net.core.somaxconn` caps
/// it.
pub const LISTEN_BACKLOG: i32 = 4_096;

/// Slots in the ring to the ledger (256 bytes each, so 4 MiB). Source: eight minutes of 2,000
/// series, which a disk may take to come back. Full: the window is counted as not stored.
pub const LEDGER_RING_SLOTS: usize = 16_384;

/// Windows in one transaction of the ledger. Source: a minute's close of 2,000 series in one, and
/// less than a tenth of a second of work.
pub const LEDGER_BATCH_MAX: usize = 4_096;

/// Questions to the ledger under way. Beyond: the exchange is asked. Source: a minute's reconnect
/// of some clients with a thousand series.
pub const LEDGER_READS_MAX: usize = 4_096;

/// How long the fan-out waits for an answer of the ledger; then the exchange is asked. Source: less
/// than a person notices; a disk that is slow at the moment must not delay a client.
pub const LEDGER_PATIENCE: Duration = Duration::from_secs(1);

/// How long the ledger's thread sleeps between looks at its ring; so this long a closed candle may
/// wait before it is written. Source: a tenth of the second in which it must be stored.
pub const LEDGER_TURN: Duration = Duration::from_millis(100);

/// The pause before the ledger's file is tried again; it doubles up to [`LEDGER_RETRY_MAX`].
pub const LEDGER_RETRY: Duration = Duration::from_secs(1);
/// See [`LEDGER_RETRY`]. Source: soon enough after somebody has made room on the disk.
pub const LEDGER_RETRY_MAX: Duration = Duration::from_secs(30);

/// How long the end of the server waits for what is still to be written. Source: as long as a
/// supervisor leaves beside `CONNECTOR_DRAIN_TIMEOUT`.
pub const LEDGER_END: Duration = Duration::from_secs(3);

/// The largest `CONNECTOR_LEDGER_DAYS`. Source: ten years.
pub const LEDGER_DAYS_MAX: usize = 3_650;

/// The smallest `CONNECTOR_LEDGER_BYTES_MAX`. Source: an hour of 1,000 series.
pub const LEDGER_BYTES_MIN: usize = 16 << 20;
/// The largest `CONNECTOR_LEDGER_BYTES_MAX`. Source: the largest disks in use.
pub const LEDGER_BYTES_MAX: usize = 64 << 40;

/// The largest `CONNECTOR_LEDGER_CATCH_UP`. Source: windows that one series can repair.
pub const LEDGER_CATCH_UP_MAX: usize = 1_440;
const _: () = assert!(LEDGER_CATCH_UP_MAX as i64 == REPAIR_WINDOWS_MAX);
