//! Every bound that is not configuration: buffers, queues, loops, patience. Each says where its
//! number comes from and what happens when it is reached; const asserts hold the relations.

use std::time::Duration;

/// Instruments one process knows at a time. Reached: the one that nobody has wanted for the longest
/// time is forgotten; where all are wanted, the subscription is refused with an error. Source:
/// about 12,000 symbols are listed on the five exchanges together; with room for other intervals.
pub const INSTRUMENTS_MAX: usize = 32_768;

/// Instruments whose names nobody has confirmed: neither the exchange's list nor a candle. Reached:
/// further such names are refused with an error, confirmed ones are not. Source: half of the table
/// stays free for names that exist; two whole requests whose candles are derived fit before a list
/// is there.
pub const UNCONFIRMED_MAX: usize = 16_384;
const _: () = assert!(UNCONFIRMED_MAX <= INSTRUMENTS_MAX / 2);
const _: () = assert!(UNCONFIRMED_MAX >= 2 * 2 * REQUEST_SYMBOLS_MAX);

/// Series of one client whose symbols are missing in the exchange's list and have delivered
/// nothing, at most; beside it, 1/64 of what is left of [`UNCONFIRMED_MAX`]. Reached: the others
/// are refused with an error. Source: more symbols than an exchange lists anew between two looks at
/// its list.
pub const CLIENT_UNCONFIRMED_MAX: usize = 64;

/// The same while the exchange's list is not known; beside it, half of what is left of
/// [`UNCONFIRMED_MAX`]. Source: one whole request.
pub const CLIENT_UNLISTED_MAX: usize = REQUEST_SYMBOLS_MAX;

/// What a client may spend at once on names that are new to their exchange: each listed one costs 1,
/// each other one [`UNLISTED_NAME_COST`]. Reached: `too_many_new_symbols` says when to ask again.
/// Source: all that Binance lists for spot, in seven intervals; or four times as many invented names
/// as may be tried at once.
pub const CLIENT_NEW_NAMES_BURST: u32 = 16_384;
const _: () = assert!(CLIENT_NEW_NAMES_BURST as usize >= 4 * REQUEST_SYMBOLS_MAX);

/// What a client earns of it per second. Source: what the exchange that serves most takes of one
/// address: Binance 300 sessions in five minutes, of 50 symbols each.
pub const CLIENT_NEW_NAMES_PER_SECOND: u32 = 50;

/// What a name costs that the exchange's list does not have. Source: at one in 1.3 s a client costs
/// 47 questions of REST a minute, a sixth of what Binance's futures leave for what is new.
pub const UNLISTED_NAME_COST: u32 = 64;
const _: () = assert!(
    CLIENT_NEW_NAMES_BURST as usize / UNLISTED_NAME_COST as usize >= CLIENT_UNCONFIRMED_MAX
);

/// How long a name that the exchange or its list has refused is answered from memory. Source: longer
/// than a program pauses that asks again in a loop; a new listing waits for it at most this long.
pub const REFUSED_PATIENCE: Duration = Duration::from_secs(60);

/// Such names at once, each with up to 1.7 KB of words. Beyond: the oldest is forgotten, and who asks
/// for it again asks the exchange. Source: a minute's names of a hundred clients, at
/// [`CLIENT_UNCONFIRMED_MAX`].
pub const REFUSED_NAMES_MAX: usize = 8_192;

/// How long an instrument that nobody wants any more is kept after its stream has ended, if it has
/// delivered: for its watermark, so that no closed candle is published twice. Source: what an
/// exchange pushes after a subscription is at most one window old, and it is pushed at a window's
/// end.
pub const INSTRUMENT_REST: Duration = Duration::from_secs(120);

/// Share of [`INSTRUMENTS_MAX`] or [`UNCONFIRMED_MAX`], in percent, from which on the log warns
/// once, until it has fallen below the second one.
pub const TABLE_WARNING_PERCENT: usize = 80;
/// See [`TABLE_WARNING_PERCENT`].
pub const TABLE_CALM_PERCENT: usize = 70;
const _: () = assert!(TABLE_CALM_PERCENT < TABLE_WARNING_PERCENT);

/// Shards one process may have. Source: design: at most one per CPU; the largest hosts in use.
pub const SHARDS_MAX: usize = 64;

/// Slots in a shard's ring to the fan-out core (256 bytes each, so 2 MiB).
/// Source: 2,000 series closing at once, twice, on one shard. Full: the shard conflates open
/// candles and queues closed ones up to `CONNECTOR_CLOSED_QUEUE_MAXSIZE`.
pub const RING_SLOTS: usize = 8_192;

/// The largest `CONNECTOR_CLOSED_QUEUE_MAXSIZE`, and what 0 stands for: 256 MB a shard, which grow
/// only as they are needed. Source: half an hour of the 32,768 series that there may be.
/// Reached: the shard's sockets are not read until the fan-out core has taken some.
pub const CLOSED_QUEUE_MAX: usize = 1_000_000;

/// The largest `CONNECTOR_MAX_SYMBOL_PER_WS`, and what 0 stands for: what the exchange that allows
/// most streams on a session allows. Source: Binance's 1024. Each exchange's own limit holds too.
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

/// Certificates and tokens under way to the fan-out core. Full: said, and to be tried again.
pub const RENEWALS_MAX: usize = 16;

/// Notices under way to the log. Full: the notice is dropped and counted.
pub const NOTICES_MAX: usize = 4_096;

/// Questions and answers under way between a shard and the ops core. Full: asked again later.
pub const OPS_REQUESTS_MAX: usize = 256;

/// Symbols one client request may name. Reached: refused, naming the field.
/// Source: more than any exchange lists for one contract type (Gate.io spot, 2,600).
pub const REQUEST_SYMBOLS_MAX: usize = 4_096;

/// Bytes of one symbol. Reached: refused. Source: the longest listed one has 24 (OKX options).
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

/// Time for an HTTP head to arrive, on the client port unless `CONNECTOR_WSS_HANDSHAKE_TIMEOUT` says
/// otherwise. Reached: 408 and close.
pub const HTTP_HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one message from an exchange. Reached: the session is lost and starts again.
/// Source: OKX's whole instrument list over WebSocket is below 4 MiB; a kline push is 300 bytes.
pub const VENUE_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes for an exchange that its socket does not take. Reached: the session is lost and starts
/// again. Source: the subscribe messages of 1,000 streams, 200 bytes each.
pub const VENUE_UNSENT_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(VENUE_UNSENT_BYTES_MAX < VENUE_MESSAGE_BYTES_MAX);

/// Windows of one series that are repaired or held back at most, counted from the newest. Older
/// ones are told as a gap and never repaired. Source: a day of minutes, as far back as OKX's
/// newest candles reach, whatever their interval.
pub const REPAIR_WINDOWS_MAX: i64 = 1_440;

/// Closed windows of one series that wait for one before them. More: what is missing is reported as a
/// gap at once, without waiting for REST. Source: as many as one answer of REST brings.
pub const HELD_WINDOWS_MAX: usize = REST_ROWS_MAX;
const _: () = assert!((HELD_WINDOWS_MAX as i64) < REPAIR_WINDOWS_MAX);

/// How long the last series of a market is waited for after the first has closed its window. Reached:
/// the `mark` names those that are absent. Source: REST looks at a window 5 s after its end.
pub const MARK_PATIENCE: Duration = Duration::from_secs(10);

/// Absent series that a `mark` names; the others are counted. Source: a symbol and its reason have up
/// to 130 bytes, escaped.
pub const MARK_ABSENT_MAX: usize = 400;
const _: () = assert!(MARK_ABSENT_MAX * (2 * SYMBOL_BYTES_MAX + 20) <= SERVER_MESSAGE_BYTES_MAX);

/// Minutes of a candle that is derived from minutes at most, and minutes that are looked back at for
/// its past. Longer intervals are the exchange's own or not to be had. Source: as far as minutes are
/// repaired.
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

/// How long a client whose subscription asks for the past (`history`, `since`) hears nothing else
/// while REST gives nothing: since it subscribed, or since REST last gave something of the past of any
/// series of that market, in whose line this one stands. Reached: what is known is sent, the rest is
/// a gap, or `since` is refused; then live candles. Source: a question of REST has been answered, or
/// asked again twice, by then; a client that waits longer takes the series for dead.
pub const PAST_PATIENCE: Duration = Duration::from_secs(10);

/// The same in all, however busy REST is. Also how long a shard asks for windows of the past that it
/// does not get. Source: a minute's weight of an exchange is then used up.
pub const PAST_PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Candles in one message from an exchange. More: a decode error, nothing of it is used.
/// Source: two at a roll-over (Bybit, Gate), and room for a dialect that repeats a few minutes.
pub const KLINES_PER_MESSAGE_MAX: usize = 16;

/// Bytes read from one socket in one turn. More is left for the next turn, so that one
/// talkative socket cannot starve the others. Source: a minute's close of 50 symbols is 16 KiB.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// Storage of an open exchange session for what was read and is not understood yet; a message that is
/// longer takes more while it is here. Source: a whole read behind the unfinished message of the one
/// before.
pub const VENUE_QUEUE_BYTES: usize = 2 * READ_BYTES_MAX;

/// Clients one process accepts; fewer with `CONNECTOR_WSS_CLIENTS_MAX`. Reached: HTTP 503 with
/// `Retry-After`, at once.
/// Source: 20,000 open files are a common hard limit; half are left to the rest.
pub const CLIENTS_MAX: usize = 10_000;

/// User-space memory of one client beyond what it is owed. Source: an idle one takes 2.4 KB
/// (tests/memory), and some of its requests are kept.
///
/// The process as a whole takes at most [`FIXED_BYTES_MAX`] + clients × ([`CLIENT_BYTES_MAX`] + the
/// outbox bound), and [`TLS_BYTES_MAX`] more for each client that speaks TLS. The outbox bound is
/// [`SHARE_BYTES_MAX`] + `CONNECTOR_CLIENT_BUFFER_MAX` for a client that does not keep up, and
/// nothing for one that does. Frames owed to many are stored once, so that slow clients of the same
/// series cost far less. Not in it: 64 bytes for each series of a client, half a request of
/// [`CLIENT_MESSAGE_BYTES_MAX`] or half a TLS handshake as long, and what the kernel keeps for
/// sockets ([`CLIENT_UNSENT_BYTES_MAX`]).
pub const CLIENT_BYTES_MAX: usize = 8 * 1024;

/// What TLS adds to [`CLIENT_BYTES_MAX`]. Source: 7.0 KB for an idle client (tests/memory), of which
/// 4 KiB are the buffer that rustls reads into.
pub const TLS_BYTES_MAX: usize = 8 * 1024;

/// User-space memory of the process without clients, for up to a thousand series in sessions of
/// `CONNECTOR_MAX_SYMBOL_PER_WS` as it is by default; each further series costs 256 bytes for each of
/// `CONNECTOR_HISTORY_CANDLES`, each further session [`VENUE_QUEUE_BYTES`]. Source: one ring of 2 MiB
/// and a queue of 1 MiB before it for each of a few shards, twice [`RUN_BYTES_MAX`],
/// [`SPARE_BUFFERS_MAX`], [`LONG_BUFFERS_MAX`], [`SPARE_FRAMES_MAX`], the past of the series, their sessions.
pub const FIXED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Connections being told that there is no room, beyond [`CLIENTS_MAX`]. Reached: closed unanswered.
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

/// Subscriptions of one client to one series. Reached: refused, naming the symbol. Source: each is
/// looked at with every update, before others receive it; a program has a few.
pub const CLIENT_SAME_SERIES_MAX: usize = 16;

/// Symbols of a request that count as one more message, see [`CLIENT_MESSAGES_BURST`] and
/// [`CLIENT_MESSAGES_PER_TURN`]. Source: the largest market with all its intervals, 12 times 2,600
/// symbols, is within the burst; to take a symbol costs a tenth of a message.
pub const SYMBOLS_PER_MESSAGE: usize = 16;
const _: () = assert!(12 * 2_600 / SYMBOLS_PER_MESSAGE < CLIENT_MESSAGES_BURST as usize);

/// Tokens in `CONNECTOR_WSS_TOKENS_FILE`. More: the file is refused. Source: a comparison looks at
/// every one, at 30 ns each.
pub const TOKENS_MAX: usize = 1_024;

/// Bytes of one token. More: the file is refused. Source: 32 random bytes in hex have 64; a signed
/// token, which is no use here, has more.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Bytes of a file with tokens, certificates or a key. More: the file is refused.
/// Source: as many tokens of full length, each with a comment as long.
pub const CREDENTIALS_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(CREDENTIALS_BYTES_MAX >= 2 * TOKENS_MAX * (TOKEN_BYTES_MAX + 2));

/// Default of `CONNECTOR_WSS_IDLE_TIMEOUT`. Source: longer than a person at a prompt thinks; a
/// program that wants to wait without a subscription sends `ping` now and then.
pub const CLIENT_IDLE_PATIENCE: Duration = Duration::from_secs(300);

/// WebSocket messages of one client handled in one turn. More wait for the next turn, so that a
/// talkative client cannot starve the others. Source: at 2 µs each, about 0.1 ms.
pub const CLIENT_MESSAGES_PER_TURN: u32 = 64;

/// Messages a client may send at once, and then per second. Reached: it is not read for a while, see
/// [`CLIENT_PAUSE`].
/// Source: one request per symbol for the largest market; a human or a heartbeat afterwards.
pub const CLIENT_MESSAGES_BURST: u32 = 4_096;
/// See [`CLIENT_MESSAGES_BURST`].
pub const CLIENT_MESSAGES_PER_SECOND: u32 = 200;

/// How long a client that has used up its messages is not read. Source: ten more are earned in it.
pub const CLIENT_PAUSE: Duration = Duration::from_millis(50);

/// Such pauses in a row, without a second's rest between. Reached: error and close 1008.
/// Source: half a minute of nothing but waiting, some 6,000 messages beyond the burst.
pub const CLIENT_PAUSES_MAX: u32 = 600;

/// Bytes of a request's `id`. Reached: refused. Source: a UUID has 36.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Bytes made ready for one client's socket at a time. What is beyond stays owed, where open
/// candles conflate. Source: a default socket send buffer takes more in one write.
pub const READY_BYTES_MAX: usize = 64 * 1024;

/// Bytes that the kernel holds for one client and may not send yet. Reached: its socket takes no
/// more, what follows stays owed. Source: twice [`READY_BYTES_MAX`], so that it never runs dry; by
/// itself Linux takes up to `tcp_wmem`'s 4 MiB of quotes that will be old.
pub const CLIENT_UNSENT_BYTES_MAX: u32 = 128 * 1024;
const _: () = assert!(CLIENT_UNSENT_BYTES_MAX as usize >= 2 * READY_BYTES_MAX);

/// Storage that a client's outgoing bytes keep while there are none. Source: two quotes, so that
/// a single update allocates nothing.
pub const IDLE_BUFFER_BYTES: usize = 1024;

/// Storage lent to a client that has more than [`IDLE_BUFFER_BYTES`] to send, until it is sent.
/// Source: what may be ready, and the frame that goes beyond it.
pub const SPARE_BUFFER_BYTES: usize = READY_BYTES_MAX + 4 * 1024;

/// Such buffers kept for the next burst. Beyond: freed. Source: 17 MiB; a hundred clients that
/// take a minute's close of 2,000 series at once, twice over.
pub const SPARE_BUFFERS_MAX: usize = 256;

/// Storage lent to a client whose socket has left more than [`SPARE_BUFFER_BYTES`] of what it shared,
/// until that is sent.
pub const LONG_BUFFER_BYTES: usize = SHARE_BYTES_MAX + 4 * 1024;

/// Such buffers kept for the next burst. Beyond: freed. Source: 16 MiB; of a hundred clients that share
/// much, some have no room for all of it.
pub const LONG_BUFFERS_MAX: usize = 64;

/// Bytes ready for one client that shares what is published in this turn with others: they cost it
/// nothing as long as its socket takes them. Reached: what waits in the rings waits for the next turn.
/// What the socket does not take is copied. Source: at the minute boundary a core reads and publishes
/// some 200 KiB a turn, and each write has a price beside its bytes: with 64 KiB a turn the boundary
/// takes a quarter longer (benches/wire/boundary.rs).
pub const SHARE_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(SHARE_BYTES_MAX >= READY_BYTES_MAX);

/// Bytes published in one turn that clients share instead of having copies. Beyond: copies; what waits
/// in the rings waits for the next turn from half of it on. Source: [`SHARE_BYTES_MAX`] for four groups
/// of clients that have nothing in common.
pub const RUN_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(RUN_BYTES_MAX >= 4 * SHARE_BYTES_MAX);

/// Pieces of what is shared that one client may have in one turn. Beyond: a copy. Source: who wants
/// less than every other series gets few bytes; who wants more has few pieces.
pub const SHARED_PARTS_MAX: usize = 16;

/// Clients cut off in one turn because they are owed too much; the others hear nothing more and wait.
/// Source: each takes some 30 µs, and thousands that stopped reading at once are too slow at once.
pub const SLOW_CUT_MAX: usize = 16;

/// Bytes made ready for all clients before they are written to. Reached: what waits in the rings
/// waits until then. Source: 6 KiB for each of [`CLIENTS_MAX`] clients.
pub const TURN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Buffers of frames owed to nobody that are kept for the next ones. Beyond: freed.
/// Source: 4 MiB of quotes; a minute's close of 2,000 series, four times over.
pub const SPARE_FRAMES_MAX: usize = 8_192;

/// Pause before a write to a client is tried again for which the kernel had no memory. Source: long
/// enough for others to be sent, short for a person.
pub const SEND_PAUSE: Duration = Duration::from_millis(50);

/// Time for a client to take our last bytes, Close included. Reached: the socket is closed.
/// Source: a client that still reads does so within a second; five allow for a bad network.
pub const CLOSE_WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// A client that says Close 1000 has its first quotes at most this long afterwards (design §4).
pub const CLOSE_NORMAL_LINGER: Duration = Duration::from_secs(3);

/// How long the last client's leaving is waited out before the exchange subscription ends.
/// Source: a client's restart takes seconds; a resubscription costs the exchange's budget.
pub const UNSUBSCRIBE_LINGER: Duration = Duration::from_secs(15);

/// A core without work parks at most this long, so that its executor's timers run (design §2).
pub const PARK_MAX: Duration = Duration::from_millis(5);

/// A pause that `CONNECTOR_WAIT=adaptive` spins through, if most of the latest were as short. Reached:
/// the core parks. Source: to park and to be woken costs some 10 µs.
pub const ADAPTIVE_SPIN: Duration = Duration::from_micros(20);

/// A core whose heartbeat is older is unhealthy. Source: a thousand times [`PARK_MAX`].
pub const HEARTBEAT_STALE: Duration = Duration::from_secs(5);

/// After our Close and FIN, how long the peer's bytes are still read, so that no reset destroys
/// what we sent (design §4).
pub const CLOSE_DRAIN: Duration = Duration::from_secs(1);

/// Pause between two clients that are told to move to a successor, at most: 2,000 a second.
/// Source: a quarter of what one fan-out core admits with TLS. Where that would take longer than
/// `CONNECTOR_DRAIN_TIMEOUT`, they are told faster.
pub const MOVE_INTERVAL: Duration = Duration::from_micros(500);

/// How long a successor waits for live sessions of what it subscribes at start before it takes over.
/// Reached: it takes over without them. Source: a session is up within a second or two of a name's
/// being resolved.
pub const TAKEOVER_WARM_UP: Duration = Duration::from_secs(5);
const _: () = assert!(TAKEOVER_WARM_UP.as_secs() < TAKEOVER_PATIENCE.as_secs());

/// Pause after a takeover that came to nothing. Source: long enough for a log, short for a person.
pub const TAKEOVER_PAUSE: Duration = Duration::from_millis(200);

/// How long a server that is to be relieved waits for its successor to serve. Reached: it says so and
/// serves on. Source: a start takes a second; a busy machine, and room.
pub const TAKEOVER_PATIENCE: Duration = Duration::from_secs(30);

/// Addresses of a name that are tried; more are left out. Source: an attempt lasts ten seconds, and
/// a silent address takes 0.4 of them.
pub const ADDRESSES_MAX: usize = 16;

/// A name that no name server has answered for so long has no address, but for those that were
/// found before. Source: half of [`CONNECT_PATIENCE`], so that an attempt goes on with those.
pub const LOOK_UP_PATIENCE: Duration = Duration::from_secs(5);

/// Time for a TCP connection and its TLS and WebSocket handshakes to an exchange.
/// Source: intercontinental round trips are 0.3 s; six of them, five times over.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Longest backoff between two attempts to connect, and longest open time of a breaker.
/// Source: design §3.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Bytes of the REST answer with an instrument list, decompressed; it is read as it comes and never
/// held. Reached: the list is what was read before. Source: Binance's spot exchangeInfo had 17 MB in
/// 2026, the largest of all.
pub const LIST_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Names under which clients may ask for one series at the same time, beside ours. Reached: a
/// request with another one is refused for that series. Source: a handful at Hyperliquid, a dozen
/// words for contract types at OKX.
pub const SERIES_SPELLINGS_MAX: usize = 24;

/// Time for all main pages of an instrument list; each read of its bytes may take
/// `CONNECTOR_REST_TIMEOUT`. Reached: the list is what was read before. Source: 17 MB at 2 Mbit/s.
pub const LIST_PATIENCE: Duration = Duration::from_secs(90);

/// Main pages of one list. Reached: the list is what was read before. Source: Bybit's linear list has
/// two of 500.
pub const LIST_PAGES_MAX: usize = 64;

/// Parts of one list that are known at once. Reached: symbols of further ones are tried unseen.
/// Source: over 200 builders' exchanges were seen on Hyperliquid.
pub const LIST_PARTS_MAX: usize = 512;

/// Bytes of a REST answer beside its rows, and of each row; together the longest body that is read.
/// Reached: the answer is an error. Source: the longest row is one of Binance, with up to 180 bytes;
/// an error is a sentence.
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

/// Connections to the ops port at once. Reached: the one whose patience ends first makes room.
/// Source: a handful of scrapers and probes, and room to outlast a slow-header attack.
pub const OPS_CONNECTIONS_MAX: usize = 256;

/// Bytes of answers one ops connection may leave unread. Reached: it is read no further until it
/// takes them. Source: one scrape of five exchanges and 64 shards is below 144 KiB; the page, which
/// is no copy, below 256 KiB (`cores/ops/dashboard.rs`).
pub const OPS_OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Send buffer of an ops connection, in bytes; the kernel takes twice as much for it. Reached: the rest
/// waits in our memory. Source: who reads has the page in a few turns; who does not makes a core that
/// gives way to all others copy some 64 KiB instead of the whole page.
pub const OPS_SEND_BUFFER_BYTES: usize = 32 * 1024;

/// How long an ops connection may stay without a request. Reached: closed.
/// Source: Prometheus scrapes every 15–60 s and keeps the connection.
pub const HTTP_IDLE_PATIENCE: Duration = Duration::from_secs(75);

/// Updates shown at `/debug/slowest`, and kept of each [`SLOWEST_PERIOD`].
/// Source: a screen.
pub const SLOWEST_UPDATES: usize = 16;

/// The fan-out core hands the slowest updates over this often.
pub const SLOWEST_PERIOD: Duration = Duration::from_secs(1);

/// Age up to which a slow update is shown.
pub const SLOWEST_WINDOW: Duration = Duration::from_secs(60);

/// Handovers of slow updates that may wait for the ops core. Reached: the next has the slowest of a
/// longer time. Source: the ops core looks many times a second.
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
/// disk stops nobody.
pub const LOG_LINES_MAX: usize = 8_192;

/// Different texts whose repetition is watched at once. Full: further ones are written as they come,
/// within [`LOG_EVENT_BURST`].
pub const LOG_REPEATS_MAX: usize = 256;

/// A notice with the text of one written less than this ago is counted, not written. As long as it
/// goes on, the count is told after this time, after twice, four times as long, and at last once in
/// each [`LOG_REPEAT_WINDOW_MAX`].
pub const LOG_REPEAT_WINDOW: Duration = Duration::from_secs(1);
/// See [`LOG_REPEAT_WINDOW`].
pub const LOG_REPEAT_WINDOW_MAX: Duration = Duration::from_secs(60);

/// Lines about one event in one market (or about one event that concerns none) written at once. Beyond:
/// counted; the count and the last text are written with the next line there is room for, one in each
/// [`LOG_EVENT_PAUSE`]. Source: a screen; and where every session of fifteen markets is lost again and
/// again, ten lines a second, so that [`LOG_FILE_BYTES_MAX`] and the files kept hold half a night.
pub const LOG_EVENT_BURST: u32 = 20;
/// See [`LOG_EVENT_BURST`].
pub const LOG_EVENT_PAUSE: Duration = Duration::from_secs(3);

/// How long a REST or DNS worker waits for a shard to take its answer. Then: dropped; the shard's
/// own deadline asks again.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Connections the kernel holds for us between two accepts. Reached: the client's kernel tries
/// again. Source: a thousand clients coming back at once, with room; `net.core.somaxconn` caps it.
pub const LISTEN_BACKLOG: i32 = 4_096;
