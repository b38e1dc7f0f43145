//! Building the Workers. `wrangler.toml` calls this too.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use tests::{root, target_dir};

use crate::child::without_ours;
use crate::progress::{Progress, say};
use crate::setup::{self, WASM_BINDGEN, WORKER_BUILD, cargo, npm_program};

/// `cargo xtask worker`'s arguments.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The suites' Worker too, into tests/worker/build
    #[arg(long)]
    tests: bool,
}

/// Builds what is asked for; all but instant when nothing changed.
pub(crate) async fn run(progress: &Progress, options: &Options) -> Result<()> {
    OURS.build(progress).await?;
    if options.tests {
        SUITES.build(progress).await?;
    }
    Ok(())
}

/// A Worker that can be built.
pub(crate) struct Worker {
    name: &'static str,
    /// Its crate's folder.
    folder: &'static str,
    /// What cargo calls the program.
    program: &'static str,
    /// Where what is built goes.
    build: &'static str,
    /// Whether it is deployed, and so made as small as can be.
    is_deployed: bool,
}

/// pgspan's own.
pub(crate) const OURS: Worker = Worker {
    name: "the Worker",
    folder: "edge-worker/worker",
    program: "pgspan_worker",
    build: "edge-worker/build",
    is_deployed: true,
};

/// Somebody else's, which does what the suites ask.
pub(crate) const SUITES: Worker = Worker {
    name: "the suites' Worker",
    folder: "tests/worker",
    program: "tests_worker",
    build: "tests/worker/build",
    is_deployed: false,
};

impl Worker {
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
        compile.current_dir(root().join(self.folder)).env("WASM_BINDGEN_USE_JS_SYS", "1");
        // whole, since a relative one is another in each folder
        compile.env("CARGO_TARGET_DIR", target_dir());
        progress.run(&format!("compiling {}", self.name), &mut compile).await?;

        // The rest (bindings, wasm-opt, bundle) takes seconds whether or not the program changed, so we look first.
        let compiled = target_dir().join("wasm32-unknown-unknown/release").join(self.program);
        let stamp = stamp(&compiled.with_extension("wasm"))?;
        let build = root().join(self.build);
        let noted = build.join(".stamp");
        let is_current = fs::read_to_string(&noted).is_ok_and(|noted| noted == stamp);
        if is_current && build.join("index.js").exists() && build.join("index_bg.wasm").exists() {
            return Ok(());
        }
        let mut bundle = Command::new(worker_build);
        without_ours(&mut bundle).env("CARGO_TARGET_DIR", target_dir());
        bundle.current_dir(root()).args(["--release", self.folder, "--out-dir"]).arg(&build);
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
        say(&format!("{} is in {}", self.name, self.build));
        Ok(())
    }
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
    Ok(format!("{hash:016x} {} {}\n", WORKER_BUILD.version(), WASM_BINDGEN.version()))
}
