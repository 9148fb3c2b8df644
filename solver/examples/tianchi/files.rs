//! The contest's files: gzipped CSV without headers, decimals with at most six places, read as millionths.

use flate2::read::GzDecoder;
use hyphae_solver::profiles::{App, Fleet, Limit, Machine, Move};
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

/// What instances and machines are called.
pub(crate) struct Names {
    pub(crate) instances: Vec<String>,
    pub(crate) machines: Vec<String>,
    instance_of: HashMap<String, usize>,
    machine_of: HashMap<String, usize>,
}

fn text(path: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    GzDecoder::new(File::open(path).map_err(|error| format!("{}: {error}", path.display()))?)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// A decimal in millionths, exactly.
fn micros(decimal: &str) -> Result<u64, Box<dyn Error>> {
    let (whole, fraction) = decimal.trim().split_once('.').unwrap_or((decimal.trim(), ""));
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{decimal} is no number of millionths").into());
    }
    Ok(format!("{whole}{fraction:0<6}").parse()?)
}

fn flat(fields: &[&str]) -> Result<Vec<u64>, Box<dyn Error>> {
    fields.iter().map(|field| micros(field)).collect()
}

fn curve(field: &str) -> Result<Vec<u32>, Box<dyn Error>> {
    field.split('|').map(|decimal| Ok(u32::try_from(micros(decimal)?)?)).collect()
}

fn find(names: &HashMap<String, usize>, name: &str) -> Result<usize, Box<dyn Error>> {
    Ok(*names.get(name).ok_or_else(|| format!("{name} is not known"))?)
}

/// The fleet in `directory`, and its names.
pub(crate) fn read_fleet(directory: &Path) -> Result<(Fleet, Names), Box<dyn Error>> {
    let mut fleet = Fleet::default();
    let mut names =
        Names { instances: Vec::new(), machines: Vec::new(), instance_of: HashMap::new(), machine_of: HashMap::new() };
    let mut app_of = HashMap::new();
    for line in text(&directory.join("app_resources.csv.gz"))?.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [app, cpu, memory, rest @ ..] = fields.as_slice() else { return Err("an app lacks fields".into()) };
        app_of.insert(app.to_string(), fleet.apps.len());
        fleet.apps.push(App { cpu: curve(cpu)?, memory: curve(memory)?, flat: flat(rest)? });
    }
    fleet.slots = fleet.apps.first().map_or(0, |app| app.cpu.len());
    for line in text(&directory.join("machine_resources.csv.gz"))?.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [machine, cpu, memory, rest @ ..] = fields.as_slice() else { return Err("a machine lacks fields".into()) };
        names.machine_of.insert(machine.to_string(), fleet.machines.len());
        names.machines.push(machine.to_string());
        let (cpu, memory) = (u32::try_from(micros(cpu)?)?, u32::try_from(micros(memory)?)?);
        fleet.machines.push(Machine { cpu, memory, flat: flat(rest)? });
    }
    for line in text(&directory.join("app_interference.csv.gz"))?.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [beside, app, most] = fields.as_slice() else { return Err("a rule lacks fields".into()) };
        let (beside, app, most): (_, _, u32) = (find(&app_of, beside)?, find(&app_of, app)?, most.parse()?);
        // Of an app beside itself, one is there already.
        fleet.limits.push(Limit { beside, app, most: most + u32::from(beside == app) });
    }
    for line in text(&directory.join("instance_deploy.csv.gz"))?.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [instance, app, machine] = fields.as_slice() else { return Err("an instance lacks fields".into()) };
        names.instance_of.insert(instance.to_string(), fleet.instances.len());
        names.instances.push(instance.to_string());
        fleet.instances.push(find(&app_of, app)?);
        fleet.initial.push(if machine.is_empty() { None } else { Some(find(&names.machine_of, machine)?) });
    }
    Ok((fleet, names))
}

/// One line `instance,machine` for each move.
pub(crate) fn write_moves(path: &Path, names: &Names, moves: &[Move]) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(File::create(path)?);
    for Move { instance, machine } in moves {
        writeln!(out, "{},{}", names.instances[*instance], names.machines[*machine])?;
    }
    Ok(out.flush()?)
}

/// What [`write_moves`] wrote.
pub(crate) fn read_moves(path: &Path, names: &Names) -> Result<Vec<Move>, Box<dyn Error>> {
    let read = |line: &str| -> Result<Move, Box<dyn Error>> {
        let (instance, machine) = line.split_once(',').ok_or("a move lacks a field")?;
        Ok(Move { instance: find(&names.instance_of, instance)?, machine: find(&names.machine_of, machine)? })
    };
    std::fs::read_to_string(path)?.lines().map(read).collect()
}
