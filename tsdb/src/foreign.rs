//! Directories that another program has written: found before anything is opened for writing.

use std::io;
use std::path::{Path, PathBuf};

use crate::block::{self, Block, BlockId};
use crate::blocks::blocks_dir;
use crate::error::Error;
use crate::fs::{AtPath, Fs, names_in, number_of};
use crate::head::{CHECKPOINTS_DIR, CHUNKS_DIR, is_chunk_file};
use crate::manifest::{MANIFEST, Manifest};
use crate::wal::{Origin, WAL_DIR, origin};

/// Names that only another program puts into a data directory, and the program.
const NAMES: [(&str, Writer); 5] = [
    ("chunks_head", Writer::Prometheus),
    ("wbl", Writer::Prometheus),
    ("queries.active", Writer::Prometheus),
    ("thanos.shipper.json", Writer::Prometheus),
    ("flock.lock", Writer::VictoriaMetrics),
];
/// Beginnings of such names, which end with a number.
const PREFIXES: [&str; 2] = ["checkpoint.", "chunk_snapshot."];

/// Program that has written a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Prometheus, or a program that keeps its data as Prometheus does.
    Prometheus,
    /// VictoriaMetrics.
    VictoriaMetrics,
    /// Any other.
    Unknown,
}

/// Owner of the manifest beside a file of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// This program: the directory holds files of both.
    OurManifest,
    /// Nobody.
    NoManifest,
}

/// Refuses a directory that another program has written, in whole or in part. Opens files for reading only. An empty directory,
/// one that is not there, and files that no part of a store is named like are no reason.
///
/// Without a manifest of ours, another program's names decide, and a log without a header of ours. With one, segments,
/// checkpoints, chunk files and blocks are looked at one by one. A part of zeros only is ours: space reserved before a crash.
///
/// Cost: a short read for each of these files; blocks that the manifest names are left out.
pub(crate) fn refuse_foreign(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
    let names = match fs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.at(dir)?,
    };
    Look { fs, dir, names: &names, beside: Beside::NoManifest }.all()
}

/// Refuses a directory without a manifest of ours that another program has written. For readers: what lies beside a manifest
/// of ours does not keep the store from being read.
pub(crate) fn refuse_foreign_store(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
    match refuse_foreign(fs, dir) {
        Err(Error::Foreign { beside: Beside::OurManifest, .. }) => Ok(()),
        other => other,
    }
}

struct Look<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    names: &'a [String],
    beside: Beside,
}

impl Look<'_> {
    fn all(&mut self) -> Result<(), Error> {
        let manifest = self.dir.join(MANIFEST);
        let mut named = Vec::new();
        match self.has(MANIFEST).then(|| origin(self.fs, &manifest, 0)).transpose()? {
            Some(Origin::Ours) => {
                self.beside = Beside::OurManifest;
                named = Manifest::read(self.fs, self.dir, &mut Vec::new())?
                    .map(|said| said.state.blocks)
                    .unwrap_or_default();
            }
            Some(Origin::Foreign) => return self.foreign(manifest, Writer::Unknown),
            Some(Origin::Blank) | None => {}
        }
        self.by_name()?;
        let mut parts = self.framed(WAL_DIR)?;
        parts |= self.framed(CHECKPOINTS_DIR)?;
        parts |= self.chunk_files()?;
        parts |= self.blocks(&named)?;
        let ours = parts || self.beside == Beside::OurManifest;
        if !ours && self.has(WAL_DIR) {
            return self.foreign(self.dir.join(WAL_DIR), Writer::Prometheus);
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|other| other == name)
    }

    fn foreign<T>(&self, found: PathBuf, writer: Writer) -> Result<T, Error> {
        Err(Error::Foreign { dir: self.dir.to_owned(), found, writer, beside: self.beside })
    }

    /// Blocks and checkpoints of Prometheus anywhere, and other names where there is no manifest of ours.
    fn by_name(&self) -> Result<(), Error> {
        let is_part =
            |name: &String| name.parse::<BlockId>().is_ok() || PREFIXES.iter().any(|prefix| is_numbered(name, prefix));
        if let Some(name) = self.names.iter().find(|name| is_part(name)) {
            return self.foreign(self.dir.join(name), Writer::Prometheus);
        }
        let wal = self.dir.join(WAL_DIR);
        let log = if self.has(WAL_DIR) { names_in(self.fs, &wal)? } else { Vec::new() };
        if let Some(name) = log.iter().find(|name| is_numbered(name, PREFIXES[0])) {
            return self.foreign(wal.join(name), Writer::Prometheus);
        }
        if self.beside == Beside::OurManifest {
            return Ok(());
        }
        match NAMES.iter().find(|(name, _)| self.has(name)) {
            Some((name, writer)) => self.foreign(self.dir.join(name), *writer),
            None => Ok(()),
        }
    }

    /// Refuses numbered files in `name` that are not of the log's form. Answers whether any is ours.
    fn framed(&self, name: &str) -> Result<bool, Error> {
        let dir = self.dir.join(name);
        let mut ours = false;
        for number in self.numbers(name)? {
            let path = dir.join(format!("{number:08}"));
            match origin(self.fs, &path, number)? {
                Origin::Ours => ours = true,
                Origin::Blank => {}
                Origin::Foreign => return self.foreign(path, Writer::Prometheus),
            }
        }
        Ok(ours)
    }

    fn chunk_files(&self) -> Result<bool, Error> {
        let dir = self.dir.join(CHUNKS_DIR);
        let mut ours = false;
        for number in self.numbers(CHUNKS_DIR)? {
            let path = dir.join(format!("{number:08}"));
            match is_chunk_file(self.fs, &path, number)? {
                Origin::Ours => ours = true,
                Origin::Blank => {}
                Origin::Foreign => return self.foreign(path, Writer::Unknown),
            }
        }
        Ok(ours)
    }

    /// Refuses blocks of others among ours; `named` are ours.
    fn blocks(&self, named: &[BlockId]) -> Result<bool, Error> {
        let dir = blocks_dir(self.dir);
        let mut ours = !named.is_empty();
        for id in block::list(self.fs, &dir)?.into_iter().filter(|id| !named.contains(id)) {
            if Block::is_ours(self.fs, &dir, id)? {
                ours = true;
            } else {
                return self.foreign(block::block_dir(&dir, id), Writer::Prometheus);
            }
        }
        Ok(ours)
    }

    fn numbers(&self, name: &str) -> Result<Vec<u64>, Error> {
        if !self.has(name) {
            return Ok(Vec::new());
        }
        Ok(names_in(self.fs, &self.dir.join(name))?.iter().filter_map(|name| number_of(name)).collect())
    }
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(all(test, feature = "testing"))]
mod tests;
