//! Dashboards: small YAML files, rendered by the server.

mod lines;
mod model;
mod panel;
mod slice;
mod variables;

use std::path::{Path, PathBuf};

pub(crate) use lines::{Drawn, Most, lines};
pub(crate) use model::Dashboard;
pub(crate) use panel::{PanelView, View, render};
pub(crate) use slice::Slice;
pub(crate) use variables::{Choices, choices};

/// The dashboards of this server: those built in, and those in a folder.
#[derive(Debug)]
pub(crate) struct Dashboards {
    folder: Option<PathBuf>,
}

/// A dashboard's name in the address, and the dashboard, or why it cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) slug: String,
    pub(crate) dashboard: Result<Dashboard, String>,
}

/// The dashboards built in: slug and YAML.
const BUILT_IN: [(&str, &str); 2] =
    [("host", include_str!("builtin/host.yaml")), ("silverback", include_str!("builtin/silverback.yaml"))];

impl Dashboards {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// All dashboards as they are now. A file replaces a built-in dashboard of its name.
    ///
    /// Cost: reads the folder. Call it off the threads that serve connections.
    pub(crate) fn load(&self) -> Vec<Found> {
        let built_in = |(slug, yaml): (&str, &str)| Found {
            slug: slug.to_owned(),
            dashboard: Dashboard::parse(yaml).map_err(|e| format!("{slug}: {e}")),
        };
        let mut found: Vec<Found> = BUILT_IN.into_iter().map(built_in).collect();
        for file in self.folder.as_deref().map(load_folder).unwrap_or_default() {
            match found.iter_mut().find(|known| known.slug == file.slug) {
                Some(known) => *known = file,
                None => found.push(file),
            }
        }
        found
    }
}

/// The YAML files of a folder, by name.
fn load_folder(folder: &Path) -> Vec<Found> {
    let failed = |what: &Path, why: std::io::Error| Found {
        slug: what.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        dashboard: Err(format!("{}: {why}", what.display())),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) => return vec![failed(folder, why)],
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| match std::fs::read_to_string(&path) {
            Ok(yaml) => Found {
                slug: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                dashboard: Dashboard::parse(&yaml).map_err(|why| format!("{}: {why}", path.display())),
            },
            Err(why) => failed(&path, why),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_dashboards_are_sound() {
        for found in Dashboards::new(None).load() {
            let dashboard = found.dashboard.unwrap();
            assert!(!dashboard.panels.is_empty());
        }
    }

    #[test]
    fn a_folder_adds_dashboards_and_tells_what_is_wrong_with_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("mine.yaml"),
            "title: Mine\npanels:\n- {title: Up, type: stat, queries: [{expr: up}]}\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("bad.yml"), "title: Bad\npanels:\n- {title: Up, type: pie}\n").unwrap();
        let found = Dashboards::new(Some(folder.path().to_owned())).load();
        let slugs: Vec<&str> = found.iter().map(|f| f.slug.as_str()).collect();
        assert_eq!(slugs, ["host", "silverback", "bad", "mine"]);
        let error = found[2].dashboard.as_ref().unwrap_err();
        assert!(error.contains("bad.yml") && error.contains("line 3"), "{error}");
        assert_eq!(found[3].dashboard.as_ref().unwrap().title, "Mine");
    }
}
