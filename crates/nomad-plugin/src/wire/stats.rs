//! Resource usage: a number and, apart from it, the word that it was measured.

use std::time::SystemTime;

use super::{Mirror, time};
use crate::{
    driver::{CpuUsage, MemoryUsage, TaskUsage},
    proto::drivers,
};

impl Mirror<drivers::TaskStats> for TaskUsage {
    fn into_wire(self) -> drivers::TaskStats {
        drivers::TaskStats {
            id: String::new(),
            timestamp: Some(self.at.into()),
            agg_resource_usage: Some(drivers::TaskResourceUsage {
                cpu: Some(self.cpu.into_wire()),
                memory: Some(self.memory.into_wire()),
            }),
            resource_usage_by_pid: std::collections::BTreeMap::new(),
        }
    }

    fn from_wire(message: drivers::TaskStats) -> Self {
        let usage = message.agg_resource_usage.unwrap_or_default();
        Self {
            at: time(message.timestamp).unwrap_or(SystemTime::UNIX_EPOCH),
            cpu: CpuUsage::from_wire(usage.cpu.unwrap_or_default()),
            memory: MemoryUsage::from_wire(usage.memory.unwrap_or_default()),
        }
    }
}

/// `Domain = Message, Fields { field = Enumerator }`: each field is an `Option` here, a value and an enumerator there.
/// Those behind `unlisted` are values on both sides.
macro_rules! measured {
    ($domain:ident = $message:path, $fields:path {
        $($field:ident = $enumerator:ident),* $(,)?
    } unlisted { $($unlisted:ident),* }) => {
        impl Mirror<$message> for $domain {
            fn into_wire(self) -> $message {
                use $fields as Fields;
                use $message as Message;
                let mut measured_fields = Vec::new();
                $(if self.$field.is_some() {
                    measured_fields.push(Fields::$enumerator.into());
                })*
                Message {
                    $($field: self.$field.unwrap_or_default(),)*
                    $($unlisted: self.$unlisted,)*
                    measured_fields,
                }
            }

            fn from_wire(message: $message) -> Self {
                use $fields as Fields;
                let measured = |field: Fields| message.measured_fields.contains(&field.into());
                Self {
                    $($field: measured(Fields::$enumerator).then_some(message.$field),)*
                    $($unlisted: message.$unlisted,)*
                }
            }
        }
    };
}

measured!(CpuUsage = drivers::CpuUsage, drivers::cpu_usage::Fields {
    system_mode = SystemMode, user_mode = UserMode,
    throttled_periods = ThrottledPeriods, throttled_time = ThrottledTime, percent = Percent,
} unlisted { total_ticks });

measured!(MemoryUsage = drivers::MemoryUsage, drivers::memory_usage::Fields {
    rss = Rss, cache = Cache, max_usage = MaxUsage, kernel_usage = KernelUsage, kernel_max_usage = KernelMaxUsage,
    usage = Usage, swap = Swap,
} unlisted {});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_sent_but_not_listed_as_measured() {
        let usage = CpuUsage { percent: Some(50.0), total_ticks: 1500.0, ..CpuUsage::default() };

        let message = usage.clone().into_wire();

        assert_eq!(message.measured_fields, [i32::from(drivers::cpu_usage::Fields::Percent)]);
        assert_eq!(message.total_ticks.to_bits(), 1500.0_f64.to_bits());
        assert_eq!(CpuUsage::from_wire(message), usage);
    }
}
