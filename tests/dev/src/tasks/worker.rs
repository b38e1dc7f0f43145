//! Building the Workers. `wrangler.toml` calls this too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use super::child::without_ours;
use super::progress::{Progress, say};
use super::setup::{self, WASM_BINDGEN, WORKER_BUILD, cargo, npm_program};
use crate::project::{Project, ask_cargo};
use crate::{root, target_dir};

/// `cargo xtask worker`'s arguments.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// Also the Workers that only tests start
    #[arg(long)]
    tests: bool,
}

/// Builds what is asked for; all but instant when nothing changed.
///
/// # Errors
/// When a tool can't be installed, or the Worker does not compile.
pub async fn run(progress: &Progress, options: &Options) -> Result<()> {
    let workers = if options.tests { Worker::all()? } else { vec![Worker::of_project()?] };
    for worker in workers {
        worker.build(progress).await?;
    }
    Ok(())
}

/// A Worker that can be built.
pub(crate) struct Worker {
    /// What messages call it.
    name: String,
    /// Its crate's folder, from the root.
    folder: String,
    /// What cargo calls the program.
    program: String,
    /// Where `build/` and `entry.mjs` go.
    home: PathBuf,
    /// Whether it is deployed, and so made as small as can be.
    is_deployed: bool,
}

impl Worker {
    /// The project's own.
    pub(crate) fn of_project() -> Result<Worker> {
        let project = Project::here();
        let folder = project.worker()?;
        Ok(Worker {
            name: "the Worker".to_owned(),
            folder: folder.to_owned(),
            program: project.program_in(folder)?.to_owned(),
            home: root().join(project.worker_home()?),
            is_deployed: true,
        })
    }

    /// The project's own, and those that tests start.
    pub(crate) fn all() -> Result<Vec<Worker>> {
        let project = Project::here();
        let for_tests = project.about.test_workers.iter().map(|folder| {
            Ok(Worker {
                name: format!("the Worker in {folder}"),
                folder: folder.clone(),
                program: project.program_in(folder)?.to_owned(),
                home: root().join(folder),
                is_deployed: false,
            })
        });
        [Worker::of_project()].into_iter().chain(for_tests).collect()
    }

    /// Whether the project's own was built before, however long ago.
    pub(crate) fn is_built() -> bool {
        Worker::of_project().is_ok_and(|worker| worker.home.join("build/.stamp").exists())
    }

    /// Builds it; all but instant when nothing changed.
    pub(crate) async fn build(&self, progress: &Progress) -> Result<()> {
        setup::node()?;
        setup::npm_packages(progress, &root()).await?;
        setup::wasm_target(progress).await?;
        let worker_build = WORKER_BUILD.program(progress).await?;
        let wasm_bindgen = WASM_BINDGEN.program(progress).await?;

        // What worker-build itself begins with, to the letter, so that cargo has nothing to do when it comes to that.
        let mut compile = cargo();
        compile.args(["build", "--lib", "--release", "--target", "wasm32-unknown-unknown"]);
        compile.current_dir(root().join(&self.folder)).env("WASM_BINDGEN_USE_JS_SYS", "1");
        // whole, since a relative one is another in each folder
        compile.env("CARGO_TARGET_DIR", target_dir());
        progress.run(&format!("compiling {}", self.name), &mut compile).await?;
        copy_entry(&self.home)?;

        // The rest (bindings, wasm-opt, bundle) takes seconds whether or not the program changed, so we look first.
        let compiled = target_dir().join("wasm32-unknown-unknown/release").join(&self.program);
        let stamp = stamp(&compiled.with_extension("wasm"))?;
        let build = self.home.join("build");
        let noted = build.join(".stamp");
        let is_current = fs::read_to_string(&noted).is_ok_and(|noted| noted == stamp);
        if is_current && build.join("index.js").exists() && build.join("index_bg.wasm").exists() {
            return Ok(());
        }
        let mut bundle = Command::new(worker_build);
        without_ours(&mut bundle).env("CARGO_TARGET_DIR", target_dir());
        bundle.current_dir(root()).args(["--release", &self.folder, "--out-dir"]).arg(&build);
        if !self.is_deployed {
            bundle.arg("--no-opt");
        }
        // It downloads these from the web unless told where they are.
        bundle.env("WASM_BINDGEN_BIN", wasm_bindgen);
        bundle.env("WASM_OPT_BIN", npm_program("wasm-opt")).env("ESBUILD_BIN", npm_program("esbuild"));
        progress.run(&format!("bundling {}", self.name), &mut bundle).await?;
        if self.is_deployed {
            progress
                .run(&format!("stripping {}", self.name), &mut strip(&build.join("index_bg.wasm")))
                .await?;
        }
        fs::write(&noted, stamp).with_context(|| format!("could not write {}", noted.display()))?;
        say(&format!("{} is in {}", self.name, build.display()));
        Ok(())
    }
}

/// Puts pgspan-edge's `entry.mjs`, in the version that the project depends on, beside the folder `build`.
fn copy_entry(home: &Path) -> Result<()> {
    let metadata = ask_cargo(&root(), &["metadata", "--format-version", "1"], |_| ())?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let edge = packages.find(|package| package["name"] == "pgspan-edge");
    let manifest = edge.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.context("no package of this workspace depends on pgspan-edge")?;
    let (from, to) = (Path::new(manifest).with_file_name("entry.mjs"), home.join("entry.mjs"));
    let entry = fs::read(&from).with_context(|| format!("could not read {}", from.display()))?;
    if fs::read(&to).is_ok_and(|found| found == entry) {
        return Ok(()); // not touched: wrangler dev may be watching it
    }
    fs::write(&to, entry).with_context(|| format!("could not write {}", to.display()))
}

/// The functions' names are a sixth of the program, and no one is told them: a panic's place is logged by our own hook.
fn strip(program: &Path) -> Command {
    let mut strip = Command::new(npm_program("wasm-opt"));
    // What the program uses; with all features it would be written in a form that the runtime does not read yet.
    let features = [
        "bulk-memory",
        "multivalue",
        "mutable-globals",
        "nontrapping-float-to-int",
        "reference-types",
        "sign-ext",
    ];
    strip.arg(program).args(features.map(|feature| format!("--enable-{feature}")));
    // Below the stack, which comes first in a Rust program's memory, nothing is.
    strip.arg("--low-memory-unused");
    // The second round finds what the first made possible.
    strip.args(["--gufa", "-Oz", "--gufa-optimizing", "--dae-optimizing", "-Oz", "--converge"]);
    // What has similar names has similar code: beside each other they compress better.
    strip.arg("--reorder-functions-by-name");
    strip.args(["--strip-debug", "--strip-producers", "-o"]).arg(program);
    strip
}

/// What the bundle follows from: the compiled program (FNV-1a of its bytes) and the tools.
fn stamp(compiled: &Path) -> Result<String> {
    let program = fs::read(compiled).with_context(|| format!("could not read {}", compiled.display()))?;
    let packages = fs::read(root().join("package-lock.json")).context("could not read package-lock.json")?;
    let hash = program.iter().chain(&packages).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("{hash:016x} {} {}\n", WORKER_BUILD.version()?, WASM_BINDGEN.version()?))
}
