//! Words for a directory that another program has written, with the cure.

use std::path::Path;

use tsdb::{Beside, Writer};

/// One line: what is wrong with `dir`, in which another program has written `found`, and the commands and flags that help.
/// `flag` is the flag that chooses another directory, if there is one.
pub(crate) fn foreign(dir: &Path, found: &Path, writer: Writer, beside: Beside, flag: Option<&str>) -> String {
    let (of, imports) = match writer {
        Writer::Prometheus => ("Prometheus or a program that stores as it does", true),
        Writer::VictoriaMetrics => ("VictoriaMetrics", false),
        Writer::Unknown => ("another program", false),
    };
    let (dir, found) = (dir.display(), found.display());
    let (what, import) = match beside {
        Beside::NoManifest => {
            (format!("{dir} is not a data directory of Silverback"), format!("silverback tsdb import NEW {dir}"))
        }
        Beside::OurManifest => (
            format!("{dir} holds files of another program beside those of Silverback"),
            format!("move it to a directory OLD of its own, then silverback tsdb import NEW OLD with {dir} as NEW"),
        ),
    };
    let other = flag.map(|flag| format!("choose another directory with {flag}"));
    let cures: Vec<String> =
        imports.then(|| format!("bring its samples in: {import}")).into_iter().chain(other).collect();
    let cures = if cures.is_empty() { "choose another directory".to_owned() } else { cures.join("; or ") };
    format!("{what}: {found} was written by {of}. Nothing was changed. {cures}")
}
