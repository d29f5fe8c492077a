//! The badge: access tokens for Google's services, from a service account's key, a user's login, the
//! machine's metadata server, or the token of another identity provider.
//!
//! It knows tokens and nothing of what they open. It reads no environment variable: what is ambient
//! is handed in.
