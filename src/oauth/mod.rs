//! The words of the RFCs. Pure values: nothing here knows a client, a token or a request.

pub mod audience;
pub mod error;
pub mod grant_type;
pub mod scope;
