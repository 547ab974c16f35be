//! Regular expressions as Go reads them.

mod syntax;

pub use syntax::translate;
