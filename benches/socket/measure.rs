//! Medians, and what the system says about this process.

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The smallest of the values that `part` of them do not exceed.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let i = (values.len() as f64 * part) as usize;
    values[i.min(values.len() - 1)]
}

/// Seconds that this process has used on all processors; 0 where the system does not say.
pub fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may contain spaces; the ticks of user and system follow it.
    let columns = stat.rsplit(')').next().unwrap_or_default();
    let ticks = columns.split(' ').skip(12).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
