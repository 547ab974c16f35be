//! Compression of answers. Long ones are compressed piece by piece on the threads of queries.

use std::io::{self, Write};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::queries::Queries;

/// Bytes that are compressed where their connection is.
const MAX_AT_ONCE: usize = 16 << 10;

/// A content coding that Prometheus knows as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

/// Compresses an answer of any size, as Prometheus does, if the client takes it so. Answers that carry the [`Queries`] as an
/// extension may be long.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let coding = accepted(request.headers()).filter(|_| request.method() != Method::HEAD);
    let mut response = next.run(request).await;
    let queries = response.extensions_mut().remove::<Queries>();
    let Some(coding) = coding.filter(|_| is_compressible(&response)) else { return response };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let body = if body.size_hint().exact().is_some_and(|size| size <= MAX_AT_ONCE as u64) {
        match axum::body::to_bytes(body, MAX_AT_ONCE).await {
            Ok(text) => {
                let mut encoder = Encoder::new(coding);
                let begun = encoder.encode(&text);
                Body::from([begun, encoder.finish()].concat())
            }
            Err(error) => Body::from_stream(stream::once(async { Err::<Bytes, _>(error) })),
        }
    } else {
        pieces(body.into_data_stream(), Encoder::new(coding), queries)
    };
    Response::from_parts(parts, body)
}

fn is_compressible(response: &Response) -> bool {
    let has = |name, value: &str| response.headers().get(name).is_some_and(|found| found == value);
    response.status() != StatusCode::NO_CONTENT
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && !has(header::CONTENT_TYPE, "application/x-protobuf")
        && response.body().size_hint().exact() != Some(0)
}

/// The first coding of `Accept-Encoding` that we know and that is not refused.
fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|item| {
        let (name, quality) = item.split_once(';').unwrap_or((item, ""));
        let quality = quality.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()).unwrap_or(1.0);
        match name.trim() {
            _ if quality <= 0.0 => None,
            name if name.eq_ignore_ascii_case("gzip") => Some(Coding::Gzip),
            name if name.eq_ignore_ascii_case("deflate") => Some(Coding::Deflate),
            _ => None,
        }
    })
}

/// The compressed pieces of a body, one for each of its own.
fn pieces(frames: BodyDataStream, encoder: Encoder, queries: Option<Queries>) -> Body {
    Body::from_stream(stream::unfold(Some((frames, encoder)), move |state| {
        let queries = queries.clone();
        async move {
            let (mut frames, mut encoder) = state?;
            loop {
                let frame = match frames.next().await {
                    Some(Ok(frame)) => frame,
                    Some(Err(error)) => return Some((Err(io::Error::other(error)), None)),
                    None => return Some((Ok(Bytes::from(encoder.finish())), None)),
                };
                let piece;
                (encoder, piece) = match encode(queries.as_ref(), encoder, frame).await {
                    Ok(done) => done,
                    Err(error) => return Some((Err(error), None)),
                };
                if !piece.is_empty() {
                    return Some((Ok(Bytes::from(piece)), Some((frames, encoder))));
                }
            }
        }
    }))
}

/// Compresses a piece: a long one on a thread of queries.
async fn encode(queries: Option<&Queries>, mut encoder: Encoder, frame: Bytes) -> io::Result<(Encoder, Vec<u8>)> {
    let work = move || {
        let piece = encoder.encode(&frame);
        (encoder, piece)
    };
    match queries {
        Some(queries) => queries.spawn(work).await.map_err(io::Error::other),
        None => Ok(work()),
    }
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

impl Encoder {
    fn new(coding: Coding) -> Self {
        // The first level takes a third of the time of the usual one and leaves a tenth more.
        match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Coding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Takes text in; gives what has come of it so far.
    fn encode(&mut self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(text).expect("writing into memory does not fail");
                std::mem::take(encoder.get_mut())
            }
            Self::Deflate(encoder) => {
                encoder.write_all(text).expect("writing into memory does not fail");
                std::mem::take(encoder.get_mut())
            }
        }
    }

    /// The rest.
    fn finish(self) -> Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        }
        .expect("writing into memory does not fail")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::Router;
    use axum::middleware;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn the_first_known_coding_that_is_not_refused_is_taken() {
        let accepted = |text: &str| {
            accepted(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_str(text).unwrap())]))
        };
        assert_eq!(accepted("br, gzip;q=0.5, deflate"), Some(Coding::Gzip));
        assert_eq!(accepted("gzip;q=0, Deflate"), Some(Coding::Deflate));
        assert_eq!(accepted("identity"), None);
        assert_eq!(accepted(""), None);
    }

    #[tokio::test]
    async fn answers_of_any_size_and_number_of_pieces_are_compressed_whole() {
        let text = |size: usize| (0..size).map(|i| (b'a' + (i % 23) as u8) as char).collect::<String>();
        let router = Router::new()
            .route("/whole/{size}", get(move |size: axum::extract::Path<usize>| async move { text(*size) }))
            .route(
                "/pieces/{size}",
                get(move |size: axum::extract::Path<usize>| async move {
                    let all = text(*size).into_bytes();
                    let pieces: Vec<_> =
                        all.chunks(1000).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
                    Body::from_stream(stream::iter(pieces))
                }),
            )
            .layer(middleware::from_fn(compress));
        for path in ["/whole/1", "/whole/16384", "/whole/1000000", "/pieces/999", "/pieces/1000000"] {
            for coding in ["gzip", "deflate"] {
                let request = Request::get(path).header(header::ACCEPT_ENCODING, coding).body(Body::empty()).unwrap();
                let response = router.clone().oneshot(request).await.unwrap();
                assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
                let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                let mut unpacked = String::new();
                match coding {
                    "gzip" => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut unpacked),
                    _ => flate2::read::ZlibDecoder::new(&body[..]).read_to_string(&mut unpacked),
                }
                .unwrap();
                assert_eq!(unpacked, text(path.rsplit('/').next().unwrap().parse().unwrap()), "{path} {coding}");
            }
        }
    }
}
