//! Binance, OKX and Bybit: exchanges whose candles carry a closed flag.
