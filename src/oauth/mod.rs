//! The words of the RFCs, and how what is handed out is written. Pure values: nothing here knows a client, a token or a request.

pub mod algorithm;
pub mod application_type;
pub mod audience;
pub mod authentication_context;
pub mod claims;
pub mod error;
pub mod fetch_uri;
pub mod grant_type;
pub mod origin;
pub mod pkce;
pub mod prompt;
pub mod redirect_uri;
pub mod response_type;
pub mod scope;
pub mod subject;
pub mod text;
pub mod unique_members;
