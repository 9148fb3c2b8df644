//! A message that is too large gets the code and the words that people expect; tonic says OUT_OF_RANGE.

use http::{HeaderValue, Response};
use hyphae_api::MESSAGE_BYTES_MAX;
use tower::util::MapResponseLayer;

const CODE: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const OUT_OF_RANGE: &[u8] = b"11";
/// In tonic's words, escaped as a header's are. (Of an answer that is too large it says "encoded".)
const TOO_LARGE: &str = "decoded%20message%20length%20too%20large";
const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");

type Body = tonic::body::Body;

/// A layer over all services.
pub(super) fn clear_size_errors() -> MapResponseLayer<fn(Response<Body>) -> Response<Body>> {
    MapResponseLayer::new(rewrite)
}

fn rewrite(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let too_large = headers.get(CODE).is_some_and(|code| code.as_bytes() == OUT_OF_RANGE)
        && headers
            .get(MESSAGE)
            .and_then(|message| message.to_str().ok())
            .is_some_and(|message| message.contains(TOO_LARGE));
    if too_large {
        let text = format!(
            "the request is larger than {} MiB, the most that a server accepts; split the files over several requests",
            MESSAGE_BYTES_MAX >> 20
        );
        // A header's spaces are escaped as gRPC wants it.
        if let Ok(value) = HeaderValue::from_str(&text.replace(' ', "%20")) {
            headers.insert(MESSAGE, value);
        }
        headers.insert(CODE, RESOURCE_EXHAUSTED);
    }
    response
}
