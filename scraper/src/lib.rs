//! From configuration to appended samples: discovery, relabeling, scraping, parsing.

#![forbid(unsafe_code)]
