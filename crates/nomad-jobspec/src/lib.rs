//! A Nomad job file, HCL2 or JSON, to a job; pure: no async, no files, no environment, no clock.
