//! The protobuf messages and services of a Nomad task driver, generated from `proto/`; no other crate sees them.
//!
//! The modules nest as the packages do, for the generated code refers to its neighbours by relative path.

mod nest {
    pub(crate) mod base {
        pub(crate) mod proto {
            include!("gen/hashicorp.nomad.plugins.base.proto.rs");
        }
    }
    pub(crate) mod drivers {
        pub(crate) mod proto {
            include!("gen/hashicorp.nomad.plugins.drivers.proto.rs");
        }
    }
    pub(crate) mod shared {
        pub(crate) mod hclspec {
            include!("gen/hashicorp.nomad.plugins.shared.hclspec.rs");
        }
        pub(crate) mod structs {
            include!("gen/hashicorp.nomad.plugins.shared.structs.rs");
        }
    }
}

pub(crate) use nest::{base::proto as base, drivers::proto as drivers, shared::hclspec, shared::structs};
