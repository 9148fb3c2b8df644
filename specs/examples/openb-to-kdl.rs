//! Turns the openb cluster trace (Alibaba, 2023: 1,523 nodes, 8,152 pods) into specs that can be planned.
//!
//! ```text
//! cargo build --workspace --examples && target/debug/examples/openb-to-kdl NODES.csv.gz PODS.csv.gz OUT_DIR
//! hyphae plan OUT_DIR/pods.kdl --inventory OUT_DIR/inventory.kdl
//! ```
//!
//! Pods of equal shape (cpu, memory, GPU, allowed models, quality of service) become one service with as many replicas. A GPU is 1000 of the
//! extra resource `gpu-milli`; that a share of a GPU cannot be split over two is left out. No pod has an end: times are ignored.
#![expect(clippy::disallowed_methods, reason = "an example program is an edge: it reads and writes files")]

use flate2::read::MultiGzDecoder;
use hyphae_specs::{Bytes, CpuMillis, Diagnostics, Source, Sources, check};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

/// More than a machine would ever hold, so that addresses do not bind.
const REPLICAS_OF_A_NODE: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, pods, out] = args.as_slice() else {
        return Err("usage: openb NODES.csv.gz PODS.csv.gz OUT_DIR".into());
    };
    let inventory = inventory(&Table::read(nodes)?)?;
    let services = services(&Table::read(pods)?)?;
    verify(&inventory, &services)?;
    std::fs::create_dir_all(out)?;
    std::fs::write(Path::new(out).join("inventory.kdl"), inventory)?;
    std::fs::write(Path::new(out).join("pods.kdl"), services)?;
    Ok(())
}

/// What is written is what the language accepts.
fn verify(inventory: &str, services: &str) -> Result<(), Box<dyn Error>> {
    let sources = Sources(vec![Source::file("inventory.kdl", inventory), Source::file("pods.kdl", services)]);
    let checked = check(&sources);
    let Diagnostics { errors, warnings } = &checked.diagnostics;
    if !errors.is_empty() || !warnings.is_empty() {
        return Err(checked.diagnostics.render(&sources, false).into());
    }
    eprintln!("{} nodes, {} services", checked.model.nodes.len(), checked.model.workloads.len());
    Ok(())
}

/// A CSV file without quotes, as the trace has it.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A row in which columns are found by name.
struct Row<'t> {
    columns: &'t [String],
    values: &'t [String],
}

impl Table {
    fn read(path: &str) -> Result<Self, Box<dyn Error>> {
        let compressed = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let mut text = String::new();
        MultiGzDecoder::new(compressed.as_slice())
            .read_to_string(&mut text)
            .map_err(|error| format!("{path}: {error}"))?;
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let columns = lines.next().ok_or_else(|| format!("{path} is empty"))?;
        Ok(Self { columns, rows: lines.collect() })
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }
}

impl Row<'_> {
    /// A column's text; empty when this list has no such column.
    fn text(&self, column: &str) -> &str {
        let at = self.columns.iter().position(|name| name == column);
        at.and_then(|at| self.values.get(at)).map_or("", String::as_str)
    }

    fn number(&self, column: &str) -> Result<u64, Box<dyn Error>> {
        let text = self.text(column);
        Ok(text.parse().map_err(|error| format!("column {column} holds \"{text}\": {error}"))?)
    }
}

fn mebibytes(count: u64) -> Bytes {
    Bytes(count << 20)
}

/// One `node` for each machine.
fn inventory(table: &Table) -> Result<String, Box<dyn Error>> {
    let mut out = String::from("// The nodes of the openb trace. A GPU is 1000 gpu-milli.\n");
    for row in table.rows() {
        let (cpu, memory, gpu) =
            (CpuMillis(row.number("cpu_milli")?), mebibytes(row.number("memory_mib")?), row.number("gpu")?);
        let extras = if gpu > 0 { format!(" gpu-milli={}", gpu * 1000) } else { String::new() };
        writeln!(out, "node \"{}\" {{", row.text("sn"))?;
        writeln!(out, "    capacity cpu={cpu} memory=\"{memory}\" replicas={REPLICAS_OF_A_NODE}{extras}")?;
        if !row.text("model").is_empty() {
            writeln!(out, "    labels gpu-model=\"{}\"", row.text("model"))?;
        }
        writeln!(out, "}}")?;
    }
    Ok(out)
}

/// What makes two pods alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    cpu: CpuMillis,
    memory: Bytes,
    gpu_milli: u64,
    models: Vec<String>,
    qos: String,
}

/// One `service` for each shape, in a fixed order.
fn services(table: &Table) -> Result<String, Box<dyn Error>> {
    let mut shapes: BTreeMap<Shape, u32> = BTreeMap::new();
    for row in table.rows() {
        let mut models: Vec<String> =
            row.text("gpu_spec").split('|').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        models.sort();
        models.dedup();
        let shape = Shape {
            cpu: CpuMillis(row.number("cpu_milli")?),
            memory: mebibytes(row.number("memory_mib")?),
            gpu_milli: row.number("num_gpu")? * row.number("gpu_milli")?,
            models,
            qos: row.text("qos").to_lowercase(),
        };
        *shapes.entry(shape).or_default() += 1;
    }
    let mut out = String::from(
        "// The pods of the openb trace: those of equal shape are one service. Times are ignored.\nteam \"openb\"\n",
    );
    for (number, (shape, count)) in shapes.iter().enumerate() {
        service(&mut out, number, shape, *count)?;
    }
    Ok(out)
}

fn service(out: &mut String, number: usize, shape: &Shape, count: u32) -> std::fmt::Result {
    let amounts = [
        (shape.cpu.0 > 0).then(|| format!(" cpu={}", shape.cpu)),
        (shape.memory.0 > 0).then(|| format!(" memory=\"{}\"", shape.memory)),
        (shape.gpu_milli > 0).then(|| format!(" gpu-milli={}", shape.gpu_milli)),
    ];
    let amounts: String = amounts.into_iter().flatten().collect();
    writeln!(out, "service \"pods-{number:04}\" team=\"openb\" {{")?;
    writeln!(out, "    image \"registry.example/openb/pod:1\"")?;
    writeln!(out, "    replicas {count}")?;
    if !amounts.is_empty() {
        writeln!(out, "    resources{amounts}")?;
    }
    if !shape.qos.is_empty() {
        writeln!(out, "    labels qos=\"{}\"", shape.qos)?;
    }
    if !shape.models.is_empty() {
        writeln!(out, "    place {{")?;
        let models: Vec<String> = shape.models.iter().map(|model| format!("\"{model}\"")).collect();
        writeln!(out, "        require gpu-model in {}", models.join(" "))?;
        writeln!(out, "    }}")?;
    }
    writeln!(out, "}}")
}
