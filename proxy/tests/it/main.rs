//! The proxy from outside: its commands, its HTTP, and the strict gate against a labelled corpus.

mod cli;
mod desync_corpus;
mod http;
mod support;
