use super::*;

fn load(args: &[&str], environment: &[(&str, &str)]) -> Result<Action, ConfigError> {
    // A developer's own `.env` is not to be seen.
    let no_file = ["--env-file", "/dev/null"].into_iter();
    let no_file = no_file.take(if args.contains(&"--env-file") { 0 } else { 2 });
    let args = ["connector-wss"].into_iter().chain(args.iter().copied()).chain(no_file);
    let args = args.map(OsString::from);
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Config::load_from(args, environment)
}

fn run(args: &[&str], environment: &[(&str, &str)]) -> Config {
    match load(args, environment).unwrap() {
        Action::Run(config) => *config,
        other => panic!("{other:?}"),
    }
}

fn printed(args: &[&str], environment: &[(&str, &str)]) -> String {
    match load(args, environment).unwrap() {
        Action::Print(text) => text,
        other => panic!("{other:?}"),
    }
}

/// An env file with `text`, removed with the test.
struct EnvFile(PathBuf);

impl EnvFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("connector-config-{}-{name}.env", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn defaults_are_those_of_the_python_server() {
    let config = Config::default();
    assert_eq!(config.inactivity_timeout, Duration::from_secs(3));
    assert_eq!((config.wss_port, config.health_check_port), (8765, 8766));
    assert_eq!(config.client_buffer_max, 1 << 20);
    assert_eq!(config.wss_address.to_string(), "127.0.0.1");
    assert!(config.health_check_enabled && config.warnings.is_empty());
    assert_eq!(config.endpoints[1].ws_url.to_string(), "wss://fstream.binance.com/market");
    assert_eq!(config.endpoints[2].rest_url, "https://dapi.binance.com");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = EnvFile::new(
        "order",
        "CONNECTOR_WSS_PORT=1\nCONNECTOR_REST_TIMEOUT=2\nexport CONNECTOR_WAIT=park # quiet\n",
    );
    let environment = [("CONNECTOR_WSS_PORT", "3"), ("CONNECTOR_REST_TIMEOUT", "4.5")];
    let config = run(&["--env-file", file.path(), "--wss-port", "5"], &environment);
    assert_eq!(config.wss_port, 5);
    assert_eq!(config.rest_timeout, Duration::from_millis(4500));
    assert_eq!(config.wait, Wait::Park);
    let printed = printed(&["--env-file", file.path(), "--print-config"], &environment);
    assert!(printed.contains("CONNECTOR_WSS_PORT=3 # environment\n"), "{printed}");
    assert!(printed.contains(&format!("CONNECTOR_WAIT=park # {}:3\n", file.path())));
    assert!(printed.contains("CONNECTOR_CLOSE_LINGER=10 # default\n"));
}

#[test]
fn a_printed_configuration_reads_back_as_itself() {
    let preload = ("CONNECTOR_PRELOAD", "binance:spot:BTCUSDT,ETHUSDT;binance:um:BTCUSDT");
    let text = printed(&["--print-config"], &[preload]);
    let file = EnvFile::new("back", &text);
    let mut back = run(&["--env-file", file.path()], &[]);
    back.warnings.clear();
    assert_eq!(back, run(&[], &[preload]));
    assert_eq!(back.preload[0].symbols, ["BTCUSDT", "ETHUSDT"]);
}

#[test]
fn a_wrong_value_names_variable_value_source_and_what_is_allowed() {
    let error = load(&[], &[("CONNECTOR_WSS_PORT", "99999")]).unwrap_err().to_string();
    let expected = "CONNECTOR_WSS_PORT=\"99999\" (from environment) is not allowed: \
                    give a port from 0 to 65535";
    assert_eq!(error, expected);
    let error = load(&["--wait", "sleep"], &[]).unwrap_err().to_string();
    assert!(error.contains("(from flag --wait)") && error.contains("spin, adaptive or park"));
    let file = EnvFile::new("wrong", "\n# first\nCONNECTOR_LOG_LEVEL=LOUD\n");
    let error = load(&["--env-file", file.path()], &[]).unwrap_err().to_string();
    assert!(error.contains(&format!("(from {}:3)", file.path())), "{error}");
}

#[test]
fn a_wrong_url_is_shown_without_what_may_be_secret() {
    let name = "CONNECTOR_BINANCE_SPOT_WS_URL";
    for (value, shown) in [
        ("wss://me:hidden@h:1/p", "wss://…@h:1/p"),
        ("wss://h/p?key=hidden", "wss://h/p?…"),
        ("wss://me:hidden@h?hidden@x", "wss://…@h?…"),
        ("me:hidden@h", "…@h"),
        ("ftp://h/p", "ftp://h/p"),
    ] {
        let error = load(&[], &[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}={shown:?} ")), "{error}");
    }
}

#[test]
fn every_kind_refuses_what_it_cannot_mean() {
    let wrong = [
        ("CONNECTOR_REST_TIMEOUT", "nan"),
        ("CONNECTOR_REST_TIMEOUT", "-1"),
        ("CONNECTOR_REST_TIMEOUT", "inf"),
        ("CONNECTOR_MAX_SYMBOL_PER_WS", "1025"),
        ("CONNECTOR_MAX_SYMBOL_PER_WS", "-1"),
        ("CONNECTOR_MAX_SYMBOL_PER_WS", "2.5"),
        ("CONNECTOR_CLOSED_QUEUE_MAXSIZE", "1000001"),
        ("CONNECTOR_CLIENT_BUFFER_MAX", "65535"),
        ("CONNECTOR_WSS_HEALTH_CHECK_ENABLED", "maybe"),
        ("CONNECTOR_WSS_HOST", "127.0.0.256"),
        ("CONNECTOR_WSS_HOST", "two words"),
        ("CONNECTOR_WSS_HOST", "http://h"),
        ("CONNECTOR_LOG_FORMAT", "yaml"),
        ("CONNECTOR_SHARD_CPUS", "1,1"),
        ("CONNECTOR_SHARD_CPUS", "3-1"),
        ("CONNECTOR_SHARDS", "0"),
        ("CONNECTOR_PRELOAD", "binance:spot"),
        ("CONNECTOR_PRELOAD", "binance:perp:BTCUSDT"),
        ("CONNECTOR_PRELOAD", "binance:spot:BTCUSDT,,ETHUSDT"),
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "https://127.0.0.1"),
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "ws://"),
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "ws://h:99999"),
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "ws://[::1"),
        ("CONNECTOR_BINANCE_SPOT_REST_URL", "http://[::1/"),
        ("CONNECTOR_PRELOAD", "binance:spot:BTC/USDT"),
        ("CONNECTOR_PRELOAD", "okx:spot:BTC-USDT-SWAP"),
        ("CONNECTOR_WSS_ORIGINS", "app.example.com"),
        ("CONNECTOR_WSS_ORIGINS", "https://a.example,https://b.example/path"),
        ("CONNECTOR_WSS_ORIGINS", "https://*.example"),
        ("CONNECTOR_WSS_CLIENTS_MAX", "0"),
        ("CONNECTOR_BINANCE_SPOT_REST_URL", "http://user@h/"),
        ("CONNECTOR_BINANCE_SPOT_REST_URL", "http://h/?q"),
    ];
    for (name, value) in wrong {
        let error = Config::from_pairs(&[(name, value)]).expect_err(value);
        assert!(matches!(&error, ConfigError::Value { name: n, .. } if n == name), "{error}");
    }
}

#[test]
fn numbers_and_booleans_read_as_python_users_write_them() {
    let config = Config::from_pairs(&[
        ("CONNECTOR_REST_TIMEOUT", "3"),
        ("CONNECTOR_MAX_SYMBOL_PER_WS", "1_000"),
        ("CONNECTOR_CLOSED_QUEUE_MAXSIZE", "20.0"),
        ("CONNECTOR_WSS_HEALTH_CHECK_ENABLED", "Off"),
        ("CONNECTOR_SHARD_CPUS", "2-4, 7"),
        ("CONNECTOR_LOG_LEVEL", "warn"),
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "WS://[::1]:9001//"),
        ("CONNECTOR_TLS_CA_FILE", " "),
    ]);
    let config = config.unwrap();
    assert_eq!(config.rest_timeout, Duration::from_secs(3));
    assert_eq!((config.symbols_per_session_max, config.closed_queue_max), (1000, 20));
    assert!(!config.health_check_enabled);
    assert_eq!(config.shard_cpus, [2, 3, 4, 7]);
    assert_eq!(config.log_level, LogLevel::Warning);
    assert_eq!(config.endpoints[0].ws_url.to_string(), "ws://[::1]:9001/");
    assert_eq!(config.tls_ca_file, None);
}

#[test]
fn zero_means_without_limit_where_the_python_connector_has_it_so() {
    let config = Config::from_pairs(&[
        ("CONNECTOR_MAX_SYMBOL_PER_WS", "0"),
        ("CONNECTOR_CLOSED_QUEUE_MAXSIZE", "0"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.symbols_per_session_max, 1_024, "the most that any exchange allows");
    assert_eq!(config.closed_queue_max, 1_000_000);
}

#[test]
fn host_and_port_have_the_flags_of_the_python_connector() {
    let environment = [("CONNECTOR_WSS_HOST", "127.0.0.3"), ("CONNECTOR_WSS_PORT", "1")];
    let config = run(&["--host", "127.0.0.2", "--port", "9000"], &environment);
    assert_eq!((config.wss_address.to_string(), config.wss_port), ("127.0.0.2".into(), 9000));
    let help = printed(&["--help"], &[]);
    assert!(help.contains("--host") && help.contains("--port"), "{help}");
}

#[test]
fn a_host_name_is_looked_up_at_start_and_has_to_have_an_address() {
    let named = || Config::from_pairs(&[("CONNECTOR_WSS_HOST", "connector-1.example")]).unwrap();
    let mut config = named();
    let found = |texts: &[&str]| Ok(texts.iter().map(|text| text.parse().unwrap()).collect());
    let look_up = |name: &str| {
        assert_eq!(name, "connector-1.example");
        found(&["fd00::7", "10.0.0.7"])
    };
    config.look_host_up(look_up).unwrap();
    assert_eq!(config.wss_address.to_string(), "10.0.0.7");
    assert!(config.exposure().unwrap().contains("10.0.0.7"));
    config.look_host_up(|_| found(&["::1"])).unwrap();
    assert_eq!(config.wss_address.to_string(), "::1");
    let absent = || io::Error::other("Name or service not known");
    for answer in [Err(absent()), Ok(Vec::new())] {
        let answer = std::cell::RefCell::new(Some(answer));
        let error = named().look_host_up(|_| answer.take().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("CONNECTOR_WSS_HOST=connector-1.example has no"), "{error}");
        assert!(error.contains("0.0.0.0"), "{error}");
    }
}

#[test]
fn contradictions_are_refused() {
    let same = [("CONNECTOR_WSS_PORT", "8766")];
    assert!(matches!(Config::from_pairs(&same), Err(ConfigError::Relation(_))));
    let cpus = [("CONNECTOR_SHARDS", "2"), ("CONNECTOR_SHARD_CPUS", "3")];
    assert!(matches!(Config::from_pairs(&cpus), Err(ConfigError::Relation(_))));
    for half in ["CONNECTOR_WSS_TLS_CERT_FILE", "CONNECTOR_WSS_TLS_KEY_FILE"] {
        let error = Config::from_pairs(&[(half, "x.pem")]).unwrap_err().to_string();
        assert!(error.contains("belong together"), "{error}");
    }
}

#[test]
fn who_lets_other_hosts_in_is_warned_of_what_is_missing() {
    let host = ("CONNECTOR_WSS_HOST", "0.0.0.0");
    let tokens = ("CONNECTOR_WSS_TOKENS_FILE", "t");
    let (cert, key) = (("CONNECTOR_WSS_TLS_CERT_FILE", "c"), ("CONNECTOR_WSS_TLS_KEY_FILE", "k"));
    let warnings = |given: &[(&str, &str)]| run(&[], given).warnings.join("\n");
    assert!(warnings(&[host]).contains("without a token"));
    assert!(warnings(&[host, cert, key]).contains("without a token"));
    assert!(warnings(&[host, tokens]).contains("clear text"));
    for safe in [&[host, tokens, cert, key][..], &[], &[("CONNECTOR_WSS_HOST", "::1")]] {
        assert_eq!(warnings(safe), "");
    }
}

#[test]
fn origins_are_listed_between_commas_in_any_case() {
    let text = "https://App.example.com , http://localhost:3000,null,chrome-extension://abc";
    let origins = run(&[], &[("CONNECTOR_WSS_ORIGINS", text)]).wss_origins;
    let expected =
        ["https://app.example.com", "http://localhost:3000", "null", "chrome-extension://abc"];
    assert_eq!(origins, expected);
}

#[test]
fn unknown_variables_warn_with_the_nearest_name() {
    let environment = [("CONNECTOR_WSS_PROT", "1"), ("CONNECTOR_FROBNICATE", "1"), ("PATH", "/")];
    let warnings = run(&[], &environment).warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[1].ends_with("did you mean CONNECTOR_WSS_PORT?"), "{warnings:?}");
    assert!(warnings[0].ends_with("has no effect"), "{warnings:?}");
}

#[test]
fn variables_without_effect_say_so_to_who_changes_them() {
    let same = [("CONNECTOR_OPEN_QUEUE_MAXSIZE", "0")];
    assert!(run(&[], &same).warnings.is_empty());
    let changed = [
        ("CONNECTOR_DEDUPLICATION_MAX_ENTRIES", "5"),
        ("CONNECTOR_DEDUPLICATION_WINDOW_SECONDS", "5"),
        ("CONNECTOR_OPEN_QUEUE_MAXSIZE", "7"),
    ];
    let warnings = run(&[], &changed).warnings;
    assert_eq!(warnings.len(), 2, "each once: {warnings:?}");
}

#[test]
fn an_env_file_is_read_as_editors_of_every_system_write_it() {
    let file = EnvFile::new(
        "editors",
        "\u{feff}CONNECTOR_WSS_PORT=1234\r\n  # comment\r\n\r\n\
         export CONNECTOR_LOG_DIR=\"a b\" # why\r\nCONNECTOR_REST_TIMEOUT=\r\n\
         CONNECTOR_WAIT = 'park'\r\nCONNECTOR_PRELOAD='binance:spot: btcusdt'",
    );
    let config = run(&["--env-file", file.path()], &[]);
    assert_eq!((config.wss_port, config.wait), (1234, Wait::Park));
    assert_eq!(config.log_dir, PathBuf::from("a b"));
    assert_eq!(config.rest_timeout, Duration::from_secs(5), "empty means the default");
    assert_eq!(config.preload[0].symbols, ["BTCUSDT"], "in the venue's spelling");
}

#[test]
fn help_and_version_print_and_unknown_flags_fail() {
    let help = printed(&["--help"], &[]);
    for variable in VARIABLES.iter() {
        assert!(help.contains(&format!("--{} ", variable.flag)), "{}", variable.name);
        assert!(help.contains(&format!("[{}]", variable.name)), "{}", variable.name);
    }
    assert!(printed(&["--version"], &[]).contains(env!("CARGO_PKG_VERSION")));
    let error = load(&["--wss-prot", "1"], &[]).unwrap_err().to_string();
    assert!(error.contains("--wss-port"), "{error}");
    assert!(run(&["--simulate"], &[]).simulate);
}

#[test]
fn a_healthcheck_takes_the_flags_of_the_server_before_and_after_it() {
    let flag = "--wss-health-check-port";
    for args in [[flag, "9000", "healthcheck"], ["healthcheck", flag, "9000"]] {
        match load(&args, &[("CONNECTOR_WSS_HEALTH_CHECK_PORT", "9001")]).unwrap() {
            Action::Healthcheck(config) => assert_eq!(config.health_check_port, 9000),
            other => panic!("{other:?}"),
        }
    }
    assert!(load(&["healthchek"], &[]).unwrap_err().to_string().contains("healthcheck"));
    assert!(printed(&["--help"], &[]).contains("healthcheck"));
}

#[test]
fn a_missing_or_broken_env_file_is_refused_with_its_name() {
    let error = load(&["--env-file", "/nonexistent/x.env"], &[]).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/x.env: cannot be read"), "{error}");
    let file = EnvFile::new("broken", "CONNECTOR_WAIT=park\nCONNECTOR_LOG_DIR=two words\n");
    let error = load(&["--env-file", file.path()], &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:2: ", file.path())), "{error}");
}

#[test]
fn preloaded_symbols_may_hold_colons_slashes_and_signs() {
    let text =
        "okx:swap:btc-usdt-swap;hyperliquid:spot:PURR/USDC, @107;hyperliquid:perp:xyz:XYZ100";
    let preload = run(&[], &[("CONNECTOR_PRELOAD", text)]).preload;
    let symbols = |at: usize| (preload[at].market.to_string(), preload[at].symbols.join(" "));
    assert_eq!(preload.len(), 3);
    assert_eq!(symbols(0), ("okx swap".into(), "BTC-USDT-SWAP".into()));
    assert_eq!(symbols(1), ("hyperliquid spot".into(), "PURR/USDC @107".into()));
    assert_eq!(symbols(2), ("hyperliquid usdm".into(), "xyz:XYZ100".into()));
}

#[test]
fn the_example_file_lists_exactly_the_variables_with_their_defaults() {
    let text = include_str!("../../.env.example");
    let lines = text.lines().filter(|line| !line.is_empty());
    let lines = lines.map(|line| line.strip_prefix('#').unwrap_or(line));
    let assigned: Vec<_> = lines.filter(|line| line.starts_with("CONNECTOR_")).collect();
    let expected: Vec<_> = VARIABLES
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.default))
        .collect();
    assert_eq!(assigned, expected);
    for variable in VARIABLES.iter() {
        assert!(text.contains(&*variable.effect), "the effect of {} is missing", variable.name);
    }
}

#[test]
fn proxies_come_from_the_environment_or_the_file_and_lead_to_no_simulated_exchange() {
    let proxy = ("HTTPS_PROXY", "http://proxy:3128");
    let used = |flags: &[&str], environment: &[(&str, &str)]| {
        let config = run(flags, environment);
        let found = config.proxies.of(true, "stream.binance.com", 9443);
        found.map(ToString::to_string).unwrap_or_default()
    };
    assert_eq!(used(&[], &[proxy]), "http://proxy:3128");
    assert_eq!(used(&[], &[proxy, ("NO_PROXY", "binance.com")]), "");
    assert_eq!(used(&["--simulate"], &[proxy]), "");
    assert_eq!(used(&["--simulate"], &[("HTTPS_PROXY", "socks5://proxy")]), "");
    let path = std::env::temp_dir().join(format!("connector-proxy-{}.env", std::process::id()));
    std::fs::write(&path, "HTTPS_PROXY=http://of-file:1\n").unwrap();
    let file = ["--env-file", path.to_str().unwrap()];
    assert_eq!(used(&file, &[]), "http://of-file:1");
    assert_eq!(used(&file, &[proxy]), "http://proxy:3128", "the environment wins");
    std::fs::remove_file(&path).unwrap();
}
