//! The addresses of clients: rates of requests per address, and addresses that trusted proxies state.

mod requests;
