//! The machine's processors as described by its kernel, for agents that do not describe them: those before 1.7.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// More than any file read here: a thousand processors take two MiB of `/proc/cpuinfo`.
const MOST_BYTES: u64 = 16 << 20;
/// More than any kernel supports.
const MOST_PROCESSORS: u32 = 1 << 14;

/// Processors, and their total speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processors {
    /// The number of online processors; 0 is unknown.
    pub count: u32,
    /// The total MHz; 0 is unknown.
    pub total_mhz: u64,
}

impl Processors {
    /// This machine's processors.
    pub(crate) fn read() -> Self {
        Self::read_at(Path::new("/sys/devices/system/cpu"), Path::new("/proc/cpuinfo"))
    }

    /// A processor's speed is its maximum, as in agents of that age; otherwise its base frequency; otherwise, as in many
    /// virtual machines, its current speed. A processor of unknown speed counts as the slowest of the others.
    fn read_at(system: &Path, cpuinfo: &Path) -> Self {
        let listed = text(cpuinfo).map(|text| speeds(&text)).unwrap_or_default();
        let online = text(&system.join("online")).ok().and_then(|list| numbers(&list));
        let online = online.unwrap_or_else(|| listed.iter().map(|(number, _)| *number).collect());
        let of_number = |number: u32| {
            let directory = system.join(format!("cpu{number}/cpufreq"));
            let kilohertz = |file: &str| text(&directory.join(file)).ok()?.trim().parse::<u64>().ok();
            let measured = kilohertz("cpuinfo_max_freq").or_else(|| kilohertz("base_frequency"));
            let by_info = || listed.iter().find(|(of, _)| *of == number).map(|(_, megahertz)| *megahertz);
            measured.map(|speed| speed / 1000).filter(|speed| *speed > 0).or_else(by_info)
        };
        let found: Vec<u64> =
            online.iter().filter_map(|number| of_number(*number)).filter(|speed| *speed > 0).collect();
        let missing = u64::try_from(online.len() - found.len()).unwrap_or_default();
        let slowest = found.iter().min().copied().unwrap_or_default();
        let total_mhz = found.iter().fold(0_u64, |sum, speed| sum.saturating_add(*speed));
        Self {
            count: u32::try_from(online.len()).unwrap_or(u32::MAX),
            total_mhz: total_mhz.saturating_add(slowest.saturating_mul(missing)),
        }
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Parses a list such as `0-3,8`; `None` if it is invalid.
fn numbers(list: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        all.extend(from..=to.min(MOST_PROCESSORS));
    }
    Some(all)
}

/// The processors of `/proc/cpuinfo` with their current MHz; 0 if it gives none, as on ARM.
fn speeds(cpuinfo: &str) -> Vec<(u32, u64)> {
    let mut found = Vec::new();
    for line in cpuinfo.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match (name.trim(), value.trim()) {
            ("processor", number) => found.extend(number.parse().ok().map(|number| (number, 0))),
            ("cpu MHz", speed) => {
                // Whole MHz are enough.
                let whole = speed.split('.').next().and_then(|whole| whole.parse().ok());
                if let (Some((_, speed)), Some(whole)) = (found.last_mut(), whole) {
                    *speed = whole;
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const INFO: &str = "processor\t: 0\nmodel name\t: A: CPU @ 2.60GHz\ncpu MHz\t\t: 2599.998\ncache size\t: 1 KB\n\n\
                        processor\t: 1\nmodel name\t: A: CPU @ 2.60GHz\ncpu MHz\t\t: 1200.500\n";

    /// A fake machine: files below `/sys/devices/system/cpu`, and `/proc/cpuinfo`.
    fn machine(system: &[(&str, &str)], cpuinfo: &str) -> Processors {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in system {
            let path = directory.path().join("cpu").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::write(directory.path().join("cpuinfo"), cpuinfo).unwrap();
        Processors::read_at(&directory.path().join("cpu"), &directory.path().join("cpuinfo"))
    }

    #[test]
    fn speeds_are_the_greatest_then_the_makers_then_those_of_the_moment() {
        let system = [
            ("online", "0-2\n"),
            ("cpu0/cpufreq/cpuinfo_max_freq", "3600000\n"),
            ("cpu0/cpufreq/base_frequency", "2100000\n"),
            ("cpu1/cpufreq/base_frequency", "2000000\n"),
            ("cpu3/cpufreq/cpuinfo_max_freq", "9000000\n"),
        ];
        let info = format!("{INFO}\nprocessor : 2\ncpu MHz : 1000.0\n");

        assert_eq!(machine(&system, &info), Processors { count: 3, total_mhz: 3600 + 2000 + 1000 });
    }

    #[test]
    fn a_virtual_machine_has_the_speeds_of_the_moment() {
        assert_eq!(machine(&[("online", "0-1\n")], INFO), Processors { count: 2, total_mhz: 2599 + 1200 });
        assert_eq!(machine(&[], INFO), Processors { count: 2, total_mhz: 2599 + 1200 });
    }

    #[test]
    fn a_processor_of_unknown_speed_is_as_slow_as_the_slowest() {
        let arm = "processor\t: 0\nBogoMIPS\t: 50.00\n\nprocessor\t: 1\nBogoMIPS\t: 50.00\n\nprocessor : 2\n";
        let system = [
            ("cpu0/cpufreq/cpuinfo_max_freq", "1800000\n"),
            ("cpu1/cpufreq/cpuinfo_max_freq", "2400000\n"),
            ("cpu2/cpufreq/cpuinfo_max_freq", "none\n"),
        ];

        assert_eq!(machine(&system, arm), Processors { count: 3, total_mhz: 1800 + 2400 + 1800 });
        assert_eq!(machine(&[], arm), Processors { count: 3, total_mhz: 0 });
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_no_number_is_too_large() {
        assert_eq!(machine(&[("online", "garbage")], ""), Processors::default());
        assert_eq!(machine(&[("online", "0-4294967295")], "").total_mhz, 0);
        assert_eq!(
            machine(&[("online", "1")], "processor: 4294967296\ncpu MHz: -1\nprocessor: 1\ncpu MHz: 7\n").total_mhz,
            7
        );
    }

    #[test]
    fn this_machine_has_processors() {
        assert!(Processors::read().count > 0);
    }
}
