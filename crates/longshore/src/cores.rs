//! Processors of this machine for tasks that ask for whole ones: no two tasks of a job get the same.

use std::collections::BTreeSet;

use rustix::thread::{CpuSet, sched_getaffinity};

/// The processors that no task has.
#[derive(Debug)]
pub(crate) struct Cores {
    all: usize,
    free: BTreeSet<u32>,
}

impl Cores {
    /// Those that this process may use, without those that tasks have already.
    pub(crate) fn without<'a>(taken: impl IntoIterator<Item = &'a u32>) -> Self {
        let usable = sched_getaffinity(None).unwrap_or_default();
        let mut free: BTreeSet<u32> = (0..CpuSet::MAX_CPU)
            .filter(|core| usable.is_set(*core))
            .filter_map(|core| u32::try_from(core).ok())
            .collect();
        let all = free.len();
        for core in taken {
            free.remove(core);
        }
        Self { all, free }
    }

    /// So many for a task.
    pub(crate) fn take(&mut self, task: &str, count: u32) -> Result<Vec<u32>, String> {
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if wanted > self.free.len() {
            let (free, all) = (self.free.len(), self.all);
            return Err(format!("task {task:?} needs {count} cores; {free} of the {all} here are free"));
        }
        Ok((0..wanted).filter_map(|_| self.free.pop_first()).collect())
    }
}

/// In the kernel's list form.
pub(crate) fn list(cores: &[u32]) -> String {
    cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_given_to_one_task() {
        let mut cores = Cores { all: 3, free: [0, 1, 2].into() };

        assert_eq!((cores.take("a", 1), cores.take("b", 2)), (Ok(vec![0]), Ok(vec![1, 2])));
        assert_eq!(cores.take("c", 1), Err("task \"c\" needs 1 cores; 0 of the 3 here are free".to_owned()));
        assert_eq!(cores.take("d", 0), Ok(Vec::new()));
        assert_eq!(list(&[1, 2]), "1,2");
    }

    #[test]
    fn what_tasks_have_already_is_not_free() {
        let machine = Cores::without([]);
        let first = *machine.free.first().unwrap();

        assert!(!Cores::without([&first]).free.contains(&first));
    }
}
