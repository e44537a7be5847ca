//! The metrics registry of a process, and what every process reports about itself.
//!
//! Process figures are read from `/proc/self` when they are scraped; where a figure cannot be read it is absent.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// A registry with process figures and `skywave_build_info` in it. Services register theirs as `skywave_…`.
pub fn registry(version: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new(vec![("version", version)]);
    registry.register("skywave_build", "What this process was built from", build);
    registry.register_collector(Box::new(ProcessMetrics::start()));
    registry
}

/// The text of a scrape (OpenMetrics 1.0), and its content type.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, registry)?;
    Ok(out)
}

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct ProcessMetrics {
    started: Instant,
    started_unix: f64,
}

impl ProcessMetrics {
    fn start() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix: now.as_secs_f64() }
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, unit: Option<&Unit>, value: Option<f64>| match value {
            Some(value) => {
                let metric = ConstGauge::new(value);
                metric.encode(encoder.encode_descriptor(name, help, unit, metric_type(&metric))?)
            }
            None => Ok(()),
        };
        let bytes = Some(&Unit::Bytes);
        let seconds = Some(&Unit::Seconds);
        gauge("process_resident_memory", "Resident memory", bytes, status_bytes("VmRSS:"))?;
        gauge("process_resident_memory_peak", "Most resident memory so far", bytes, status_bytes("VmHWM:"))?;
        gauge("process_threads", "Threads", None, status_number("Threads:"))?;
        gauge("process_open_fds", "Open file descriptors", None, open_files())?;
        gauge("process_max_fds", "Most file descriptors allowed", None, most_files())?;
        gauge("process_start_time", "Start of the process, Unix time", seconds, Some(self.started_unix))?;
        let uptime = self.started.elapsed().as_secs_f64();
        gauge("process_uptime", "Time since the start of the process", seconds, Some(uptime))?;
        if let Some(cpu) = cpu_seconds() {
            let metric = ConstCounter::new(cpu);
            let kind = metric_type(&metric);
            let help = "User and system CPU time";
            metric.encode(encoder.encode_descriptor("process_cpu", help, seconds, kind)?)?;
        }
        Ok(())
    }
}

fn metric_type(metric: &impl EncodeMetric) -> prometheus_client::metrics::MetricType {
    metric.metric_type()
}

/// The first number of a line of `/proc/self/status`.
fn status_number(label: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(label))?;
    line[label.len()..].split_whitespace().next()?.parse().ok()
}

/// The same for a line in kB.
fn status_bytes(label: &str) -> Option<f64> {
    status_number(label).map(|kilobytes| kilobytes * 1024.0)
}

fn open_files() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn most_files() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `/proc/self/stat` counts in ticks of 1/100 s on every Linux (USER_HZ).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command's name in parentheses and may hold anything; utime is field 14, stime 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((ticks(14)? + ticks(15)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reports_itself() {
        let text = render(&registry("1.2.3")).unwrap();
        assert!(text.contains("skywave_build_info{version=\"1.2.3\"} 1\n"), "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0 && value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(text.ends_with("# EOF\n"));
    }
}
